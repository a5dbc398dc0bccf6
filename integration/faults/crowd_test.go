package faults

import (
	"context"
	"net"
	"testing"
	"time"
)

func TestNoClientHasThePortOfOneThatHasJustLeft(t *testing.T) {
	c := &crowd{}
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

func TestClientsComeAndGoAndEnterWhatTheyGet(t *testing.T) {
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
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
	c := &crowd{target: echo.LocalAddr().(*net.UDPAddr).AddrPort(), books: NewBooks("server1")}
	err = c.run(ctx, 1)
	echo.Close()
	<-ended
	if wrong := c.books.Problems(); err != nil || wrong != nil || c.books.clients < 2*visitors || c.books.answered["server1"] == 0 {
		t.Errorf("%v, %q, %v", err, wrong, c.books)
	}
}
