package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udplab/services/kit/program"
)

// dialed is a dialer that remembers its target and opens nothing.
func dialed(to *address) dialer {
	return func(_ context.Context, target address) (io.ReadWriteCloser, netip.AddrPort, error) {
		*to = target
		return nil, netip.AddrPort{}, program.CannotStart(errors.New("not in this test"))
	}
}

func TestTheTarget(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    string
		environ []string
		want    address
	}{
		{"by default", "-c 1", nil, "localhost:8888"},
		{"by the variable", "-c 1", []string{"CLIENT_TARGET=balancer:8888"}, "balancer:8888"},
		{"as in the assignment", "localhost 2526", nil, "localhost:2526"},
		{"in one word", "balancer:2526", []string{"CLIENT_TARGET=other:1"}, "balancer:2526"},
		{"between flags", "-c 3 balancer 2526 -q", nil, "balancer:2526"},
		{"behind the command's name", "ping balancer 2526", nil, "balancer:2526"},
		{"a host called like a command", "ping ask 2526", nil, "ask:2526"},
		{"IPv6", "::1 2526", nil, "[::1]:2526"},
		{"IPv6 in brackets", "[::1] 2526", nil, "[::1]:2526"},
		{"IPv6 in one word", "[::1]:2526", nil, "[::1]:2526"},
		{"of a load", "load balancer 2526 -c 3", nil, "balancer:2526"},
		{"of a load, by the variable", "load -c 3", []string{"CLIENT_TARGET=balancer:8888"}, "balancer:8888"},
		{"of a question", "ask hello there", []string{"CLIENT_TARGET=balancer:8888"}, "balancer:8888"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var target address
			s := (&session{args: tt.args, environ: tt.environ, dial: dialed(&target)}).run(t.Context())
			if target != tt.want {
				t.Errorf("target %q, want %q (%v)", target, tt.want, s.err)
			}
		})
	}
}

func TestBadInputIsOneClearLineAndExitCode2(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    string
		environ []string
		want    string
	}{
		{"a port out of range", "localhost 65536", nil, `port="65536": want a port from 1 to 65535`},
		{"port zero", "localhost 0", nil, `port="0": want a port from 1 to 65535`},
		{"a port that is no number", "localhost ping", nil, `port="ping": want a port from 1 to 65535`},
		{"a host without port", "localhost", nil, `argument="localhost": want HOST PORT or HOST:PORT, with a port from 1 to 65535`},
		{"a port without host", ":8888", nil, `argument=":8888": want HOST PORT or HOST:PORT, with a port from 1 to 65535`},
		{"too much", "localhost 8888 10", nil, `argument="10": want nothing after HOST PORT`},
		{"an unknown flag", "--fast", nil, `flag="--fast": want one of those that -h lists`},
		{"a count below zero", "-c -1", nil, `--count="-1": want a whole number from 0 to 2147483647`},
		{"a count that is no number", "", []string{"CLIENT_COUNT=ten"}, `CLIENT_COUNT="ten": want a whole number from 0 to 2147483647`},
		{"a count that 32 bits do not hold", "--count=99999999999", nil, `--count="99999999999": want a whole number from 0 to 2147483647`},
		{"a rate that 32 bits do not hold", "load --rate=99999999999", nil, `--rate="99999999999": want a whole number from 0 to 1000000`},
		{"a window that 32 bits do not hold", "load --window=99999999999", nil, `--window="99999999999": want a whole number from 1 to 10000`},
		{"clients that 32 bits do not hold", "load --clients=99999999999", nil, `--clients="99999999999": want a whole number from 1 to 1000`},
		{"a size that 32 bits do not hold", "", []string{"CLIENT_SIZE=99999999999"}, `CLIENT_SIZE="99999999999": want a whole number from 0 to 65507`},
		{"no time to answer", "-W 0", nil, `--timeout="0": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 1ms up`},
		{"an interval without unit or sense", "-i fast", nil, `--interval="fast": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 0s up`},
		{"more than a datagram holds", "-s 65508", nil, `--size="65508": want a whole number from 0 to 65507`},
		{"more than all lost", "--max-loss 101", nil, `--max-loss="101": want a number from 0 to 100`},
		{"a cycle with a gap", "--expect-cycle a,,b", nil, `--expect-cycle="a,,b": want servers in the order of their turns, each once, such as server1,server2,server3`},
		{"a cycle with one twice", "", []string{"CLIENT_EXPECT_CYCLE=a,b,a"}, `CLIENT_EXPECT_CYCLE="a,b,a": want servers in the order of their turns, each once, such as server1,server2,server3`},
		{"an empty cycle", "--expect-cycle= b:1", nil, `--expect-cycle="": want servers in the order of their turns, each once, such as server1,server2,server3, or no such flag`},
		{"an empty cycle instead of the variable's", "--expect-cycle= b:1", []string{"CLIENT_EXPECT_CYCLE=a,b"}, `--expect-cycle="": want servers in the order of their turns, each once, such as server1,server2,server3, or no such flag`},
		{"an empty cycle for a load", "load --expect-cycle=", nil, `--expect-cycle="": want servers in the order of their turns, each once, such as server1,server2,server3, or no such flag`},
		{"a bad variable", "", []string{"CLIENT_TARGET=balancer"}, `CLIENT_TARGET="balancer": want HOST PORT or HOST:PORT, with a port from 1 to 65535`},
		{"a question without words", "ask -W 1", nil, `argument="": want a text to send`},
		{"a question longer than a datagram", "ask " + strings.Repeat("a", 65508), nil, `argument="` + strings.Repeat("a", 64) + `…": want a text of at most 65507 bytes`},
		{"a load that is to keep an order", "load --expect-cycle server1,server2", nil, `--expect-cycle="server1,server2": want it left out: of many datagrams under way nobody can tell the order; ping can`},
		{"a load that is to keep the order of the variable", "load", []string{"CLIENT_EXPECT_CYCLE=server1, server2"}, `CLIENT_EXPECT_CYCLE="server1,server2": want it left out: of many datagrams under way nobody can tell the order; ping can`},
		{"a load with an interval", "load -i 1s", nil, `--interval="1s": want --rate: a load waits for no single answer`},
		{"pings with a window", "--window 8 b:1", nil, `--window="8": want load in front of it: only a load has more than one under way`},
		{"pings with a rate", "ping --rate 8 b:1", nil, `--rate="8": want load in front of it; pings have --interval`},
		{"pings for a while", "--duration 8s b:1", nil, `--duration="8s": want load in front of it; pings have --count`},
		{"pings of several", "--clients 8 b:1", nil, `--clients="8": want load in front of it: pings come from one client`},
		{"a question more than once", "ask -c 2 hello", nil, `--count="2": want no such flag: a question is asked once`},
		{"a question with a window", "ask --window 2 hello", nil, `--window="2": want load in front of it: only a load has more than one under way`},
		{"no window", "load --window 0", nil, `--window="0": want a whole number from 1 to 10000`},
		{"no clients", "load --clients 0", nil, `--clients="0": want a whole number from 1 to 1000`},
		{"a rate that nobody can keep", "load --rate 1000001", nil, `--rate="1000001": want a whole number from 0 to 1000000`},
		{"a duration without sense", "load --duration long", nil, `--duration="long": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 0s up`},
		{"a load of a name that does not exist", "load bad..name 8888", nil, `target bad..name:8888: lookup bad..name: no such host`},
		{"a menu for programs", "menu --json", nil, `--json="true": want no menu: it is for people`},
		{"a name that does not exist", "bad..name 8888", nil, `target bad..name:8888: lookup bad..name: no such host`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := (&session{args: tt.args, environ: tt.environ, dial: dial, batched: openBatched}).run(t.Context())
			if s.code != 2 || s.err.Error() != tt.want {
				t.Errorf("exit code %d, said\n%v\nwant\n%s", s.code, s.err, tt.want)
			}
			if s.stdout != "" {
				t.Errorf("stdout: %s", s.stdout)
			}
		})
	}
}

func TestAVariableThatNothingReadsIsWarnedAbout(t *testing.T) {
	s := inLab(t, &lab{answer: roundRobin()}, &session{args: "-c 1 --json b:1", environ: []string{"CLIENT_CUONT=3"}})
	same(t, "stderr", s.stderr, "client: CLIENT_CUONT is set, but there is no such variable (-h lists them)\n")
	if s.code != 0 {
		t.Errorf("exit code %d", s.code)
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

func TestAnEmptyVariableExpectsNoCycle(t *testing.T) {
	for _, args := range []string{"b:1 -c 3", "load b:1 -c 3"} {
		l := &lab{answer: roundRobin()}
		s := inLab(t, l, &session{args: args, environ: []string{"CLIENT_EXPECT_CYCLE="}})
		if s.code != 0 || len(l.requests) != 3 {
			t.Errorf("%s: exit code %d (%v) after %d requests", args, s.code, s.err, len(l.requests))
		}
	}
}

func TestALoadHasItsOwnUsualCount(t *testing.T) {
	l := &lab{answer: after(100 * time.Millisecond)}
	inLab(t, l, &session{args: "load b:1 --window 1", environ: []string{"CLIENT_COUNT=3"}})
	if len(l.requests) != 50 { // as many as fit the usual 5 s
		t.Errorf("%d requests", len(l.requests))
	}
}

func TestWithoutArgumentsATerminalGetsTheMenuAndAPipeTenPings(t *testing.T) {
	s := inLab(t, &lab{answer: roundRobin()}, &session{terminal: true, stdin: "0\n"})
	if !strings.HasPrefix(s.stdout, "What would you like to do?\n") {
		t.Errorf("terminal:\n%s", s.stdout)
	}
	s = inLab(t, &lab{answer: roundRobin()}, &session{})
	if !strings.Contains(s.stdout, "10 sent, 10 received") {
		t.Errorf("pipe:\n%s", s.stdout)
	}
	s = inLab(t, &lab{answer: roundRobin()}, &session{args: "-c 2", terminal: true})
	if !strings.Contains(s.stdout, "2 sent, 2 received") {
		t.Errorf("terminal with arguments:\n%s", s.stdout)
	}
}

func TestIPv4IsPreferred(t *testing.T) {
	for _, tt := range []struct{ addrs, want string }{
		{"::1 127.0.0.1", "127.0.0.1"},
		{"127.0.0.1 ::1", "127.0.0.1"},
		{"::1 ::ffff:10.0.0.1", "10.0.0.1"},
		{"fe80::1 ::1", "fe80::1"},
	} {
		var addrs []netip.Addr
		for _, a := range strings.Fields(tt.addrs) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if got := preferIPv4(addrs).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.addrs, got, tt.want)
		}
	}
}
