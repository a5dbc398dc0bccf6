package faults

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNoClientHasThePortOfOneThatHasJustLeft(t *testing.T) {
	c := newCrowd(anywhere)
	now := time.Now()
	if !c.claim(7, now) || !c.claim(8, now) {
		t.Error("ports that nobody has had are refused")
	}
	if c.claim(7, now) || c.claim(7, now.Add(longestVisit+quarantine-1)) {
		t.Error("a port is given again too soon")
	}
	if !c.claim(7, now.Add(longestVisit+quarantine)) {
		t.Error("a port is never given again")
	}
}

// anywhere is an address that nobody sends to.
var anywhere = netip.MustParseAddrPort("127.0.0.1:9")

func TestClientsComeAndGoAndCheckTheirReplies(t *testing.T) {
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		seen := map[string]bool{}
		buf := make([]byte, 1<<16)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			echo.WriteTo(append(buf[:n:n], " server1"...), from)
			if seen[from.String()] = true; len(seen) == 2*visitors {
				stop()
			}
		}
	}()
	c := newCrowd(echo.LocalAddr().(*net.UDPAddr).AddrPort())
	err = c.run(ctx, 1)
	echo.Close()
	<-ended
	if wrong := c.wrong(); err != nil || wrong != nil || c.soFar() < 2*visitors || c.counts.InTime+c.counts.Late == 0 {
		t.Errorf("%v, %q, %v", err, wrong, c)
	}
}

func TestWhatIsWrongWithAReplyIsAProblem(t *testing.T) {
	for reply, want := range map[string]string{
		" server1":             "",
		" guest":               "",
		" server1 server1":     "it is no reply to anything that was sent",
		" server4":             "it is no reply to anything that was sent",
		"X server1":            "it is no reply to anything that was sent",
		"another client's":     "it is another client's",
		"the same reply again": "it is a duplicate",
	} {
		c := newCrowd(anywhere)
		c.exists(guest)
		v, err := c.open(1)
		if err != nil {
			t.Fatal(err)
		}
		_, payload, _ := v.book.Next(0)
		switch answer := string(payload) + reply; reply {
		case "another client's":
			v.take([]byte(strings.Replace(string(payload)+" server1", "LOAD 0000001", "LOAD 0000002", 1)))
		case "the same reply again":
			v.take([]byte(string(payload) + " server1"))
			v.take([]byte(string(payload) + " server1"))
		default:
			v.take([]byte(answer))
		}
		v.close()
		if got := c.wrong(); want == "" && got != nil || want != "" && (len(got) != 1 || !strings.HasSuffix(got[0], want)) {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
}

func TestOnlyTheFirstProblemsAreTold(t *testing.T) {
	var p problems
	if p.all() != nil {
		t.Error("problems before any")
	}
	for i := range mostProblems + 5 {
		p.add("problem %d", i)
	}
	if all := p.all(); len(all) != mostProblems+1 || all[0] != "problem 0" || all[mostProblems] != "and 5 more" || slices.Contains(all, "problem 10") {
		t.Errorf("told: %q", all)
	}
}
