package config

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

type sample struct {
	Listen  Address       `env:"X_LISTEN" envDefault:":8888" help:"where clients send to"`
	Page    Address       `env:"X_PAGE" envDefault:"localhost:80" empty:"off" help:"the page"`
	Workers int           `env:"X_WORKERS" envDefault:"1" range:"0..64" help:"loops"`
	Loss    float64       `env:"X_LOSS" envDefault:"0" range:"0..1" help:"share that is lost"`
	Wait    time.Duration `env:"X_WAIT" envDefault:"1s" range:"1ms.." flag:"wait,W" help:"patience"`
	Pause   time.Duration `env:"X_PAUSE" envDefault:"0s" range:"..1h" help:"rest"`
	Servers []string      `env:"X_SERVERS" envDefault:"a,b" empty:"refused" help:"peers"`
	JSON    bool          `env:"--json" flag:"json" help:"for programs"`
	Size    int           `env:"X_SIZE" envDefault:"0" flag:"size,s" help:"padding"`
	Shared
}

// Shared is a part that several programs share.
type Shared struct {
	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error" want:"debug, info, warn or error"`
	LogFormat string     `env:"LOG_FORMAT" default:"pretty on a terminal, else text" help:"pretty, text or json" want:"pretty, text or json"`
}

func (s *sample) Check(wrong func(variable, want string)) {
	if s.Workers == 13 {
		wrong("X_WORKERS", "any number but 13")
	}
}

func port(args []string) (map[string]string, error) {
	switch len(args) {
	case 0:
		return nil, nil
	case 2:
		return nil, Problem{"argument", args[1], "nothing after the port"}
	}
	if err := Port(args[0]); err != nil {
		return nil, err
	}
	return map[string]string{"X_LISTEN": ":" + args[0]}, nil
}

// load reads a sample that does not go with --size.
func load(args, environ []string) (s sample, err error) {
	_, err = Load(&s, Source{Prefix: "X_", Args: args, Environ: environ, Arguments: port, Refused: map[string]string{"size": "--wait"}})
	return s, err
}

func TestEachSourceOverridesTheOneBefore(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
		check   func(s sample) bool
	}{
		{"defaults", nil, nil, func(s sample) bool {
			return s.Listen == ":8888" && s.Page == "localhost:80" && s.Workers == 1 && s.Wait == time.Second && !s.JSON && len(s.Servers) == 2
		}},
		{"bounds are included", []string{"X_WORKERS=64", "X_LOSS=1", "X_PAUSE=1h", "X_WAIT=1ms"}, nil, func(s sample) bool {
			return s.Workers == 64 && s.Loss == 1 && s.Pause == time.Hour && s.Wait == time.Millisecond
		}},
		{"the environment", []string{"X_WORKERS=4", "X_WAIT=0.2"}, nil, func(s sample) bool {
			return s.Workers == 4 && s.Wait == 200*time.Millisecond
		}},
		{"a flag over the environment", []string{"X_WAIT=3s"}, []string{"-W", "5ms"}, func(s sample) bool {
			return s.Wait == 5*time.Millisecond
		}},
		{"an argument, with a flag behind it", nil, []string{"2526", "--wait=2s", "--json"}, func(s sample) bool {
			return s.Listen == ":2526" && s.Wait == 2*time.Second && s.JSON
		}},
		{"empty means off where the tag says so", []string{"X_PAGE="}, nil, func(s sample) bool { return s.Page == "" }},
		{"empty means not set elsewhere", []string{"X_WORKERS="}, nil, func(s sample) bool { return s.Workers == 1 }},
		{"the variable of a refused flag", []string{"X_SIZE=2"}, nil, func(s sample) bool { return s.Size == 2 }},
		{"a refused flag without a value", []string{"X_SIZE=2"}, []string{"--size="}, func(s sample) bool { return s.Size == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if s, err := load(tt.args, tt.environ); err != nil || !tt.check(s) {
				t.Errorf("got %+v, error %v", s, err)
			}
		})
	}
}

func TestEveryProblemIsOneLineThatNamesThingValueAndCure(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
		want    []string
	}{
		{"a wrong type", []string{"X_WORKERS=many"}, nil, []string{`X_WORKERS="many": want a whole number from 0 to 64`}},
		{"not a number at all", []string{"X_LOSS=NaN"}, nil, []string{`X_LOSS="NaN": want a number from 0 to 1`}},
		{"infinite", []string{"X_LOSS=+Inf"}, nil, []string{`X_LOSS="+Inf": want a number from 0 to 1`}},
		{"a negative duration", nil, []string{"--wait=-1s"}, []string{`--wait="-1s": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 1ms up`}},
		{"a value whose tag says what is right", []string{"LOG_LEVEL=loud"}, nil, []string{`LOG_LEVEL="loud": want debug, info, warn or error`}},
		{"at its lower bound", []string{"X_WORKERS=-1"}, []string{"--wait=0.0009"}, []string{
			`--wait="0.0009": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 1ms up`, `X_WORKERS="-1": want a whole number from 0 to 64`,
		}},
		{"above an upper bound alone", []string{"X_PAUSE=1h1ns"}, nil, []string{`X_PAUSE="1h1ns": want a duration such as 200ms, 1.5s or 0.2 (seconds) up to 1h`}},
		{"neither true nor false", nil, []string{"--json=maybe"}, []string{`--json="maybe": want true or false`}},
		{"empty where that is refused", []string{"X_SERVERS="}, nil, []string{`X_SERVERS="": want a value like "a,b"`}},
		{"an argument too many", nil, []string{"1", "2"}, []string{`argument="2": want nothing after the port`}},
		{"an address without a port", []string{"X_LISTEN=here"}, nil, []string{`X_LISTEN="here": want [host]:port with a port from 0 to 65535`}},
		{"an address whose port has a zero too many", []string{"X_LISTEN=:08"}, nil, []string{`X_LISTEN=":08": want [host]:port with a port from 0 to 65535`}},
		{"an address that moves the cursor", []string{"X_LISTEN=\x1b[2J:8"}, nil, []string{`X_LISTEN="\x1b[2J:8": want [host]:port with a port from 0 to 65535`}},
		{"an unknown flag", nil, []string{"--fast"}, []string{`flag="--fast": want one of those that -h lists`}},
		{"an unknown short flag", nil, []string{"-f"}, []string{`flag="-f": want one of those that -h lists`}},
		{"a flag without its value", nil, []string{"--wait"}, []string{`--wait="": want a value`}},
		{"a refused flag", nil, []string{"--size", "2"}, []string{`--size="2": want --wait`}},
		{"a refused flag by its short name, with a value that is no good", nil, []string{"-sbig"}, []string{`--size="big": want --wait`}},
		{"a rule of the whole", []string{"X_WORKERS=13"}, nil, []string{`X_WORKERS="13": want any number but 13`}},
		{"all at once", []string{"X_WORKERS=65", "X_LOSS=x"}, []string{"0"}, []string{
			`X_LOSS="x": want a number from 0 to 1`, `X_WORKERS="65": want a whole number from 0 to 64`, `port="0": want a port from 1 to 65535`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := load(tt.args, tt.environ)
			if err == nil {
				t.Fatalf("accepted: %+v", s)
			}
			got := strings.Split(err.Error(), "\n")
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestAnUnknownVariableWithOurPrefixIsWarnedAbout(t *testing.T) {
	var s sample
	warnings, err := Load(&s, Source{Prefix: "X_", Environ: []string{"X_WROKERS=2", "X_WAIT=1s", "PATH=/bin", "X_A="}})
	if want := "X_A is set, but there is no such variable (-h lists them)"; err != nil || len(warnings) != 2 || warnings[0] != want {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
}

func TestHelpListsEveryFlagAndVariable(t *testing.T) {
	var s sample
	if _, err := Load(&s, Source{Args: []string{"-h"}}); !errors.Is(err, ErrHelp) {
		t.Fatalf("-h: %v", err)
	}
	var out bytes.Buffer
	Help(&out, "usage: sample [PORT]", &s)
	if want := strings.TrimPrefix(sampleHelp, "\n"); out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

const sampleHelp = `
usage: sample [PORT]

Flags:
  -W, --wait  1s   patience
      --json  off  for programs
  -s, --size  0    padding

Variables:
  X_LISTEN    :8888                            where clients send to
  X_PAGE      localhost:80                     the page (empty: off)
  X_WORKERS   1                                loops
  X_LOSS      0                                share that is lost
  X_WAIT      1s                               patience
  X_PAUSE     0s                               rest
  X_SERVERS   a,b                              peers (empty: refused)
  X_SIZE      0                                padding
  LOG_LEVEL   info                             debug, info, warn or error
  LOG_FORMAT  pretty on a terminal, else text  pretty, text or json
`

func TestADurationFits(t *testing.T) {
	for text, want := range map[string]time.Duration{"0.2": 200 * time.Millisecond, "1m30s": 90 * time.Second, "9000000000": 9e18, "9223372036.854775808": -1, "-1ns": -1, "-0.1": -1, "": -1} {
		if d, err := ParseDuration(text); (err == nil) != (want >= 0) || err == nil && d != want {
			t.Errorf("duration %q: %v, error %v", text, d, err)
		}
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]string{
		":8080": "localhost:8080", "0.0.0.0:1": "localhost:1", "[::]:2": "localhost:2",
		"10.0.0.1:3": "10.0.0.1:3", "[::1]:4": "[::1]:4", "name:5": "name:5",
	} {
		if got := Loopback(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"200ms", "0.2", "1e400", "-1", "NaN", "", "9223372037"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil && d < 0 {
			t.Errorf("%q is %v", s, d)
		}
	})
}

// What is taken for an address can be listened on as far as its form goes, and
// is found on this machine under the same port.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{":8888", "localhost:0", "[::1]:65535", "0.0.0.0:1", "[::]:80", "a:b:c", ":65536", "[fe80::1%eth0]:7", ":+1", "[]:1", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var a Address
		if a.UnmarshalText([]byte(s)) != nil {
			return
		}
		_, port, err := net.SplitHostPort(string(a))
		if string(a) != s || err != nil || port != "0" && Port(port) != nil {
			t.Fatalf("%q was taken for %q", s, a)
		}
		host, there, err := net.SplitHostPort(Loopback(s))
		if err != nil || there != port || host == "" {
			t.Errorf("%q is found at %q", s, Loopback(s))
		}
	})
}

func FuzzLoad(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"2526", "0.2"}, {"-W 5ms --json", "1h"}, {"--wait=-1s", "-1"}, {"-W", "NaN"}, {"--json=maybe", "1e999"},
		{"-- 1", "9223372036854775807ns"}, {"-f\x1b[2J", "\n"}, {"--wait= --wait=2s", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, args, wait string) {
		s, err := load(strings.Fields(args), []string{"X_WAIT=" + wait})
		if errors.Is(err, ErrHelp) {
			return
		}
		if err == nil {
			if s.Wait < time.Millisecond || s.Workers != 1 {
				t.Errorf("%+v", s)
			}
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if strings.ContainsFunc(line, unicode.IsControl) || !strings.Contains(line, ": want ") {
				t.Errorf("%q", line)
			}
		}
	})
}
