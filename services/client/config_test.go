package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"udplab/services/client/internal/fakenet"
	"udplab/services/client/internal/transport"
	"udplab/services/kit/config"
)

// nowhere remembers the target and opens nothing.
func nowhere(target *string) transport.Dialer {
	return func(_ context.Context, to string) (io.ReadWriteCloser, netip.AddrPort, error) {
		*target = to
		return nil, netip.AddrPort{}, errors.New("not in this test")
	}
}

func TestTheTarget(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    string
		environ []string
		want    string
	}{
		{"by default", "-c 1", nil, "localhost:8888"},
		{"by the variable", "-c 1", []string{"CLIENT_TARGET=balancer:8888"}, "balancer:8888"},
		{"as in the assignment", "localhost 2526", nil, "localhost:2526"},
		{"in one word", "balancer:2526", []string{"CLIENT_TARGET=other:1"}, "balancer:2526"},
		{"between flags", "-c 3 balancer 2526 -q", nil, "balancer:2526"},
		{"a host called like a command", "ping ask 2526", nil, "ask:2526"},
		{"IPv6", "::1 2526", nil, "[::1]:2526"},
		{"IPv6 in brackets", "[::1] 2526", nil, "[::1]:2526"},
		{"of a load", "load balancer 2526 -c 3", nil, "balancer:2526"},
		{"of a question", "ask hello there", []string{"CLIENT_TARGET=balancer:8888"}, "balancer:8888"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var target string
			s := (&session{args: tt.args, environ: tt.environ, dial: nowhere(&target)}).run(t.Context())
			if target != tt.want {
				t.Errorf("target %q, want %q (%v)", target, tt.want, s.err)
			}
		})
	}
}

func TestBadInputIsOneClearLineAndExitCode2(t *testing.T) {
	const cycle = "want servers in the order of their turns, each once, such as server1,server2,server3"
	for _, tt := range []struct {
		name    string
		args    string
		environ string
		want    string
	}{
		{"a port out of range", "localhost 65536", "", `port="65536": want a port from 1 to 65535`},
		{"a host without port", "localhost", "", `argument="localhost": want HOST PORT or HOST:PORT, with a port from 1 to 65535`},
		{"a port without host", ":8888", "", `argument=":8888": want HOST PORT or HOST:PORT, with a port from 1 to 65535`},
		{"too much", "localhost 8888 10", "", `argument="10": want nothing after HOST PORT`},
		{"an unknown flag", "--fast", "", `flag="--fast": want one of those that -h lists`},
		{"a count that 32 bits do not hold", "--count=99999999999", "", `--count="99999999999": want a whole number from 0 to 2147483647`},
		{"no time to answer", "-W 0", "", `--timeout="0": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 1ms up`},
		{"more than a datagram holds", "-s 65508", "", `--size="65508": want a whole number from 0 to 65507`},
		{"a cycle with a gap", "--expect-cycle a,,b", "", `--expect-cycle="a,,b": ` + cycle},
		{"an empty cycle", "--expect-cycle= b:1", "", `--expect-cycle="": ` + cycle + `, or no such flag`},
		{"an empty cycle instead of the variable's", "--expect-cycle= b:1", "CLIENT_EXPECT_CYCLE=a,b", `--expect-cycle="": ` + cycle + `, or no such flag`},
		{"a question without words", "ask -W 1", "", `argument="": want a text to send`},
		{"a question longer than a datagram", "ask " + strings.Repeat("a", 65508), "", `argument="` + strings.Repeat("a", 64) + `…": want a text of at most 65507 bytes`},
		{"a load that is to keep an order", "load --expect-cycle server1,server2", "", `--expect-cycle="server1,server2": want it left out: of many datagrams under way nobody can tell the order; ping can`},
		{"a load that is to keep the order of the variable", "load", "CLIENT_EXPECT_CYCLE=server1, server2", `CLIENT_EXPECT_CYCLE="server1,server2": want it left out: of many datagrams under way nobody can tell the order; ping can`},
		{"a load with an interval", "load -i 1s", "", `--interval="1s": want --rate: a load waits for no single answer`},
		{"pings with a window", "--window 8 b:1", "", `--window="8": want load in front of it: only a load has more than one under way`},
		{"pings with a rate", "ping --rate 8 b:1", "", `--rate="8": want load in front of it; pings have --interval`},
		{"pings for a while", "--duration 8s b:1", "", `--duration="8s": want load in front of it; pings have --count`},
		{"pings of several", "--clients 8 b:1", "", `--clients="8": want load in front of it: pings come from one client`},
		{"a question more than once", "ask -c 2 hello", "", `--count="2": want no such flag: a question is asked once`},
		{"a question with a window", "ask --window 2 hello", "", `--window="2": want load in front of it: only a load has more than one under way`},
		{"no window", "load --window 0", "", `--window="0": want a whole number from 1 to 10000`},
		{"a load of a name that does not exist", "load bad..name 8888", "", `target bad..name:8888: lookup bad..name: no such host`},
		{"a menu for programs", "menu --json", "", `--json="true": want no menu: it is for people`},
		{"a name that does not exist", "bad..name 8888", "", `target bad..name:8888: lookup bad..name: no such host`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := (&session{args: tt.args, environ: []string{tt.environ}, dial: transport.Dial}).run(t.Context())
			if s.code != 2 || s.err.Error() != tt.want || s.stdout != "" {
				t.Errorf("exit code %d, said\n%v\nwant\n%s\n%s", s.code, s.err, tt.want, s.stdout)
			}
		})
	}
}

func TestAVariableThatNothingReadsIsWarnedAbout(t *testing.T) {
	s := &session{args: "-c 1 --json b:1", environ: []string{"CLIENT_CUONT=3", "CLIENT_EXPECT_CYCLE="}}
	s.inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin()}, never)
	fakenet.Same(t, "stderr", s.stderr, "client: CLIENT_CUONT is set, but there is no such variable (-h lists them)\n")
	if s.code != 0 {
		t.Errorf("exit code %d (%v)", s.code, s.err)
	}
}

func TestHelpListsWhatThereIs(t *testing.T) {
	for _, args := range []string{"-h", "--help", "ask -h", "menu --help", "load -h"} {
		s := (&session{args: args}).run(t.Context())
		for _, want := range []string{
			"client [flags] HOST PORT", "client menu", "client ask", "client load", "--window", "--rate", "--duration", "--clients", "-c, --count", "-i, --interval", "-W, --timeout",
			"-s, --size", "-q, --quiet", "--json", "--max-loss", "--expect-cycle", "CLIENT_TARGET", "CLIENT_EPILOGUE",
		} {
			if !strings.Contains(s.stdout, want) {
				t.Errorf("%s: no %q in\n%s", args, want, s.stdout)
			}
		}
		if s.code != 0 {
			t.Errorf("%s: exit code %d", args, s.code)
		}
	}
}

var problemLine = regexp.MustCompile(`^[-A-Z_a-z]+=".*": want .+$`)

// FuzzConfiguration gives the client any command line and any two variables: it takes
// them, or says on one line each what would be right.
func FuzzConfiguration(f *testing.F) {
	for _, args := range []string{
		"", "localhost 8888", "-c 3 b:1", "--count=99999999999", "-c -1 [::1]:1", "--interval 1e300 b:1", "-W NaN b:1",
		"--expect-cycle a,b b:1", "--expect-cycle= b:1", "--expect-cycle  b:1", "ask", "ask hello there", "ask -q -- -x", "menu --json",
		"load --window 0", "load --rate 5 --clients 3 b:1", "-h", "--", "ping ask 1", "b 1 2", "--json=maybe", "-\x1b[2J", "::1 1", "[ 1", ": 1",
	} {
		f.Add(args, "", "")
		f.Add(args, "b:1", "server1,server2")
	}
	f.Add("-c 1", "b:0", "a,,b")
	f.Add("-c 1", "[::1%eth0]:70000", " a , b ")
	f.Fuzz(func(t *testing.T, args, target, cycle string) {
		var to string
		s := (&session{args: args, environ: []string{"CLIENT_TARGET=" + target, "CLIENT_EXPECT_CYCLE=" + cycle}, dial: nowhere(&to)}).run(t.Context())
		switch {
		case to != "":
			host, port, err := net.SplitHostPort(to)
			if err != nil || host == "" || config.Port(port) != nil || s.code != 2 {
				t.Errorf("%q went to %q, exit code %d", args, to, s.code)
			}
		case s.code == 2:
			for line := range strings.SplitSeq(s.err.Error(), "\n") {
				if !problemLine.MatchString(line) {
					t.Errorf("%q is refused with %q", args, line)
				}
				fakenet.Harmless(t, args, line)
			}
		case s.code != 0 || s.stdout == "": // the help, or a menu without input
			t.Errorf("%q: exit code %d (%v)", args, s.code, s.err)
		}
		fakenet.Harmless(t, args, s.stdout+s.stderr)
	})
}
