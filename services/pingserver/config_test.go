package main

import (
	"errors"
	"strings"
	"testing"
	"time"

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
		{"a loss above 1", nil, []string{"PINGSERVER_LOSS=1.01"}, hostname, `PINGSERVER_LOSS="1.01": want a number from 0 to 1`},
		{"a delay above its bound", nil, []string{"PINGSERVER_DELAY=1h1s"}, hostname, `PINGSERVER_DELAY="1h1s": want a duration such as 200ms, 1.5s or 0.2 (seconds) up to 1h`},
		{"a jitter above its bound", nil, []string{"PINGSERVER_JITTER=1h1s"}, hostname, `PINGSERVER_JITTER="1h1s": want a duration such as 200ms, 1.5s or 0.2 (seconds) up to 1h`},
		{"a seed above its bound", nil, []string{"PINGSERVER_SEED=18446744073709551616"}, hostname, `PINGSERVER_SEED="18446744073709551616": want a whole number from 0 to 18446744073709551615`},
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
