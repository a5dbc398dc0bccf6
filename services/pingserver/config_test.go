package main

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"udplab/services/kit/program"
)

func hostname() (string, error) { return "lab-pc", nil }

func TestConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    []string
		environ []string
		check   func(c settings) bool
	}{
		{"alone it is server1", nil, nil, func(c settings) bool {
			return c.Listen == ":2526" && c.Name == "server1" && c.Loss == 0 && c.Delay == 0 && c.Jitter == 0 && c.Seed == nil
		}},
		{"the argument is the port", []string{"2528"}, nil, func(c settings) bool {
			return c.Listen == ":2528" && c.Name == "server3" && !c.selfCheck
		}},

		{"a name of its own", []string{"2526"}, []string{"PINGSERVER_NAME=größe"}, func(c settings) bool { return c.Name == "größe" }},
		{"an empty name is none", []string{"2527"}, []string{"PINGSERVER_NAME="}, func(c settings) bool { return c.Name == "server2" }},
		{"the impairment", nil, []string{"PINGSERVER_LOSS=0.36", "PINGSERVER_SEED=0", "PINGSERVER_DELAY=0.2", "PINGSERVER_JITTER=1h"}, func(c settings) bool {
			return c.Loss == 0.36 && *c.Seed == 0 && c.Delay == 200*time.Millisecond && c.Jitter == time.Hour
		}},
		{"an empty seed is random", nil, []string{"PINGSERVER_SEED="}, func(c settings) bool { return c.Seed == nil }},
		{"the self-check", []string{"healthcheck"}, nil, func(c settings) bool { return c.selfCheck && c.Listen == ":2526" }},
		{"the self-check of a port", []string{"healthcheck", "2527"}, nil, func(c settings) bool { return c.selfCheck && c.Listen == ":2527" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, warnings, err := load(tt.args, tt.environ, hostname)
			if err != nil || len(warnings) > 0 || !tt.check(c) {
				t.Errorf("%+v, warnings %q, error %v", c, warnings, err)
			}
		})
	}
}

func TestWhatCannotBeConfigured(t *testing.T) {
	broken := func() (string, error) { return "", errors.New("no host") }
	spaced := func() (string, error) { return "my host", nil }
	for _, tt := range []struct {
		name     string
		args     []string
		environ  []string
		hostname func() (string, error)
		want     string
	}{
		{"a name of two words", nil, []string{"PINGSERVER_NAME=server 1"}, hostname, `PINGSERVER_NAME="server 1": want one word without spaces or control characters, at most 253 bytes`},
		{"a port out of range", []string{"70000"}, nil, hostname, `port="70000": want a port from 1 to 65535`},
		{"an argument too many", []string{"2526", "2527"}, nil, hostname, `argument="2527": want nothing behind the port`},
		{"a host without a name", nil, []string{"PINGSERVER_LISTEN=:0"}, broken, `no name for the server: no host; set PINGSERVER_NAME`},
		{"a host whose name is two words", nil, []string{"PINGSERVER_LISTEN=:9"}, spaced, `the host's name "my host" cannot be the last word of an answer; set PINGSERVER_NAME`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := load(tt.args, tt.environ, tt.hostname)
			if err == nil {
				t.Fatalf("accepted: %+v", c)
			}
			if err.Error() != tt.want || program.ExitCode(err) != 2 {
				t.Errorf("exit %d, %s\nwant %s", program.ExitCode(err), err, tt.want)
			}
		})
	}
}

func TestPortsThatNameTheirServer(t *testing.T) {
	for listen, want := range map[string]serverName{
		":2526": "server1", "[::1]:2527": "server2", "127.0.0.1:2528": "server3", ":2624": "server99",
		":2525": "lab-pc", ":2625": "lab-pc", ":0": "lab-pc", ":65535": "lab-pc",
	} {
		if got, err := defaultName(listen, hostname); got != want || err != nil {
			t.Errorf("%s: %q, want %q, error %v", listen, got, want, err)
		}
	}
}

func TestAnUnknownVariableIsWarnedAbout(t *testing.T) {
	_, warnings, err := load(nil, []string{"PINGSERVER_LOST=1"}, hostname)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "PINGSERVER_LOST") {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
}

func FuzzServerName(f *testing.F) {
	for _, name := range []string{"server1", "a b", "\u00a0", "\u200b", "\xff", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, given string) {
		var name serverName
		if name.UnmarshalText([]byte(given)) != nil {
			return
		}
		answer, _ := appendAnswer(nil, []byte("PING 1"), string(name))
		words := strings.Fields(string(answer))
		if words[len(words)-1] != given {
			t.Errorf("%q is not the last word of %q", given, answer)
		}
	})
}

// Whatever a variable is set to, it is either refused in one line that names
// it or something that a server can run with.
func FuzzConfiguration(f *testing.F) {
	variables := []string{"LISTEN", "NAME", "LOSS", "SEED", "DELAY", "JITTER"}
	for i := range variables {
		for _, value := range []string{"", "0", "-1", "1.5", "1h", "server1", ":2526", "NaN", "0x1p-2", "\x1b[2J\n", "18446744073709551616"} {
			f.Add(uint8(i), value)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		variable := "PINGSERVER_" + variables[int(which)%len(variables)]
		c, warnings, err := load(nil, []string{variable + "=" + value}, hostname)
		if err != nil {
			if text := err.Error(); program.ExitCode(err) != 2 || !strings.HasPrefix(text, variable+"=") || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s=%q is refused with %q", variable, value, text)
			}
			return
		}
		if len(warnings) > 0 || c.Name == "" || !(c.Loss >= 0 && c.Loss <= 1) || min(c.Delay, c.Jitter) < 0 || max(c.Delay, c.Jitter) > time.Hour {
			t.Errorf("%s=%q is %+v, warnings %q", variable, value, c, warnings)
		}
	})
}
