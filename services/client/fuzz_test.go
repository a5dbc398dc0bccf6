package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

// harmless wants a text to hold nothing that a terminal would obey.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
		t.Errorf("%s: %q", what, text)
	}
}

var problemLine = regexp.MustCompile(`^[-A-Z_a-z]+=".*": want .+$`)

// FuzzConfiguration gives the client any command line and any two variables: it
// takes them, or says on one line each what would be right.
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
		var out, stderr bytes.Buffer
		var to address
		p := client{
			stdin: strings.NewReader(""), stdout: &out, stderr: &stderr, args: strings.Split(args, " "),
			environ:    []string{"CLIENT_TARGET=" + target, "CLIENT_EXPECT_CYCLE=" + cycle},
			isTerminal: func(any) bool { return false }, dial: dialed(&to),
		}
		err := p.run(t.Context())
		switch code := program.ExitCode(err); {
		case to != "":
			host, port, err := net.SplitHostPort(string(to))
			if err != nil || host == "" || config.Port(port) != nil || code != 2 {
				t.Errorf("%q went to %q, exit code %d", args, to, code)
			}
		case code == 2:
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !problemLine.MatchString(line) {
					t.Errorf("%q is refused with %q", args, line)
				}
				harmless(t, args, line)
			}
		case code != 0 || out.Len() == 0: // the help, or a menu without input
			t.Errorf("%q: exit code %d (%v)", args, code, err)
		}
		harmless(t, args, out.String()+stderr.String())
	})
}

// FuzzCycle wants a cycle to be its names again.
func FuzzCycle(f *testing.F) {
	for _, text := range []string{"server1,server2,server3", "a", "", ",", "a,a", " a ,\tb", "a\x00,b", "?"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c, again cycle
		if c.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(strings.Join(c, ","))); err != nil || !slices.Equal(c, again) {
			t.Errorf("%q is %q, and that is %q (%v)", text, c, again, err)
		}
		for turn, server := range c {
			if o := orderOf(c[:turn+1], c); o.next() != c[(turn+1)%len(c)] {
				t.Errorf("after %q comes %q of %q", server, o.next(), c)
			}
		}
	})
}

// FuzzAnswersToQuestions lets anybody answer any question.
func FuzzAnswersToQuestions(f *testing.F) {
	for _, question := range []string{"", "hello", "Grün?", "\xff", "PING 1", strings.Repeat("ä", 40)} {
		for _, answer := range []string{"", question, upper(question) + " server1", strings.ToUpper(question), question + " \x1b[2J", question[:len(question)/2]} {
			f.Add(question, answer)
		}
	}
	f.Add("0", "0\u0558") // which nobody has assigned, so it is not printable
	f.Fuzz(func(t *testing.T, question, payload string) {
		tally := newTally(oneQuestion(question), 0, time.Second)
		sentAt := time.Unix(0, 0)
		tally.send(sentAt)
		e := tally.receive(payload, sentAt.Add(time.Millisecond))
		switch e := e.(type) {
		case replied:
			begins := func(s string) bool { return strings.HasPrefix(payload, s) }
			asked := question[:min(len(question), evidence)]
			if !begins(asked) && !begins(upper(asked)) && !begins(strings.ToUpper(asked)) {
				t.Errorf("%q was taken for the answer to %q", payload, question)
			}
			if e.server == unnamed && e.message != payload && e.message+" "+unnamed != payload || e.server != unnamed && e.message+" "+e.server != payload {
				t.Errorf("%q was split into %q and %q", payload, e.message, e.server)
			}
		case strayed:
			if !tally.waiting() || tally.strays != 1 {
				t.Errorf("%q ended the wait", payload)
			}
		default:
			t.Errorf("%q is a %T", payload, e)
		}
		for _, quiet := range []bool{false, true} {
			var text, lines, stderr bytes.Buffer
			answerReport{out: &text, err: &stderr, quiet: quiet}.show(e)
			harmless(t, "the answer", text.String())
			show := jsonReport{out: &lines, err: &stderr, quiet: quiet}.show
			show(e)
			show(ended{results: tally.results(sentAt.Add(time.Second), nil)})
			for line := range strings.Lines(lines.String()) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%q is not valid", line)
				}
			}
			harmless(t, "stderr", stderr.String())
			if strings.ContainsFunc(lines.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
				t.Errorf("%q", lines.String())
			}
		}
	})
}

// FuzzMenu types anything into the menu. The lab answers slowly enough that
// nothing takes many pings before Ctrl-C.
func FuzzMenu(f *testing.F) {
	for _, typed := range []string{
		"", "\n", "2\n0\n", "?\n?4\n? 9\n", "1\nhello\n1\n\n1\n\x1b[A\n", "3\n2\n0\n1\n0\n", "3\n0\n1ms\n9h\n", "3\nx\n-1\n1\n", "4\n2\n4\n",
		"5\n6\n5", "7\r\nquit\n", "2\n2\n2\n2\n2\n2\n", "\x00\n\xff\n", "99999999999\n", "3\n2147483647\n0\n0.001\n",
	} {
		f.Add(typed, uint8(0))
		f.Add(typed, uint8(3))
	}
	f.Fuzz(func(t *testing.T, typed string, silent uint8) {
		if len(typed) > 1000 {
			return
		}
		l := &lab{answer: func(n int, request string) []datagram {
			if silent > 0 && n%int(silent) == 0 {
				return nil
			}
			d := reply(request, "server"+strconv.Itoa(n%3+1))
			d.after = 50 * time.Millisecond
			return []datagram{d}
		}}
		s := &session{args: "menu b:1 --window 4 --duration 1s", stdin: typed, dial: l.dial}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s.run(ctx)
		})
		if s.code > 1 || s.err != nil && s.err.Error() != "" {
			t.Errorf("exit code %d (%v)", s.code, s.err)
		}
		if s.code == 1 && len(l.requests) == 0 {
			t.Error("failed without having asked")
		}
		if len(l.requests) > 2000+10000 { // a timeout of a millisecond or so allows the more
			t.Errorf("%d requests", len(l.requests))
		}
		harmless(t, "the screen", s.stdout+s.stderr)
	})
}

// FuzzOrder draws and explains turns of servers with any names: what it claims
// of the next turn has to fit, and where it claims nothing it says why.
func FuzzOrder(f *testing.F) {
	for _, turns := range []string{
		"", ",,", "server1,server2,server3,server1", "server1,,server3,server1,,server3", "a,b,a,c", "?,a,?", "1,2,1", "server1,server1",
		"\x1b[2J,\xff,\x1b[2J", "server2,server02,server2", "9,10,9,,9", "server99999999999999999999,server1,server99999999999999999999",
	} {
		f.Add(turns, "")
		f.Add(turns, "server1,server2,server3")
	}
	f.Fuzz(func(t *testing.T, text, expected string) {
		turns := strings.Split(text, ",")
		if len(turns) > 200 {
			return
		}
		var c cycle
		if expected != "" && c.UnmarshalText([]byte(expected)) != nil {
			return
		}
		o := orderOf(turns, c)
		harmless(t, "the order", o.String()+outlook(o))
		switch next := o.next(); {
		case next == "" && o.whyNot() == "":
			t.Error("nobody is next, and it does not say why")
		case next == unnamed && c == nil:
			t.Error("somebody unnamed is next")
		case next != "":
			after := orderOf(append(slices.Clone(turns), next), c)
			if len(after.rotations) != len(o.rotations) {
				t.Errorf("%q was next, and with it %d rotations are %d", next, len(o.rotations), len(after.rotations))
			}
		}
		for i, server := range o.cycle() {
			if server == "" || slices.Index(o.cycle(), server) != i {
				t.Errorf("cycle %q", o.cycle())
			}
		}
	})
}
