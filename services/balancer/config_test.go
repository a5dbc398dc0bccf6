package main

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/kit/program"
)

func TestConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    []string
		environ []string
		right   func(c *settings) bool
	}{
		{"nothing set is the assignment", nil, nil, func(c *settings) bool {
			return c.Listen == ":8888" && c.HTTP == "localhost:8080" && c.WhenDown == balancing.Skip && c.DataPath == "auto" &&
				fmt.Sprint(c.Backends) == "[server1=localhost:2526 server2=localhost:2527 server3=localhost:2528]" &&
				slices.Equal(c.HTTPHosts, []string{"localhost", "127.0.0.1", "[::1]", "balancer"}) &&
				c.SessionIdle == time.Minute && c.MaxSessions == 10000 && c.ClientRate == 0 && c.AnswerTimeout == time.Second && c.Drain == time.Second &&
				c.ResolveInterval == 2*time.Second && c.Probe == "" && c.StateFile == ""
		}},
		{"the argument, a port, overrides the variable", []string{"9999"}, []string{"BALANCER_LISTEN=127.0.0.1:1"}, func(c *settings) bool { return c.Listen == ":9999" }},
		{"empty turns the page, the probes and the state off", nil, []string{"BALANCER_HTTP=", "BALANCER_PROBE=", "BALANCER_STATE_FILE="}, func(c *settings) bool {
			return c.HTTP == "" && c.Probe == "" && c.StateFile == ""
		}},
		{"no drain", nil, []string{"BALANCER_DRAIN=0"}, func(c *settings) bool { return c.Drain == 0 }},
		{"hold", nil, []string{"BALANCER_WHEN_DOWN=hold"}, func(c *settings) bool { return c.WhenDown == balancing.Hold }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, warnings, err := load(tt.args, tt.environ)
			if err != nil || len(warnings) > 0 || !tt.right(cfg) {
				t.Errorf("%+v, warnings %q, error %v", cfg, warnings, err)
			}
		})
	}
}

// refuses runs a balancer that must not start. It wants exit code 2, nothing on
// stdout, and for each problem one line that begins like this.
func refuses(t *testing.T, args, environ []string, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, args, environ, &out)
	if err == nil || program.ExitCode(err) != 2 || out.Len() > 0 {
		t.Fatalf("error %v, exit code %d, stdout %s", err, program.ExitCode(err), &out)
	}
	lines := slices.Sorted(strings.SplitSeq(err.Error(), "\n"))
	if slices.Sort(want); !slices.EqualFunc(lines, want, strings.HasPrefix) {
		t.Errorf("refused with %q, want lines that begin with %q", lines, want)
	}
}

func TestWhatCannotBeConfigured(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		set  string // variables, over a configuration that could start
		want string // the beginning of the line
	}{
		{"an unknown flag", []string{"--port"}, "", `flag="--port": want one of those that -h lists`},
		{"an argument out of range", []string{"65536"}, "", `port="65536": want a port from 1 to 65535`},
		{"two arguments", []string{"8888", "8889"}, "", `argument="8889": want one argument at most, the port`},
		{"an empty list", nil, "BALANCER_BACKENDS=", `BALANCER_BACKENDS="": want a value like "server1=localhost:2526,server2=localhost:2527,server3=localhost:2528"`},
		{"a host with a port", nil, "BALANCER_HTTP_HOSTS=localhost:8080", `BALANCER_HTTP_HOSTS="localhost:8080": want names without ports, such as localhost,127.0.0.1,[::1]`},
		{"neither skip nor hold", nil, "BALANCER_WHEN_DOWN=retry", `BALANCER_WHEN_DOWN="retry": want skip or hold`},
		{"an unknown data path", nil, "BALANCER_DATAPATH=magic", `BALANCER_DATAPATH="magic": want auto`},
		{"a number out of range", nil, "BALANCER_MAX_SESSIONS=0", `BALANCER_MAX_SESSIONS="0": want a whole number from 1 to 1000000`},
		{"no time to answer", nil, "BALANCER_ANSWER_TIMEOUT=0", `BALANCER_ANSWER_TIMEOUT="0": want a duration such as 200ms, 1.5s or 0.2 (seconds) from 1ms up`},
		{"a negative drain", nil, "BALANCER_DRAIN=-1s", `BALANCER_DRAIN="-1s": want a duration such as 200ms, 1.5s or 0.2 (seconds)`},
		{"workers that the data path has not", nil, "BALANCER_DATAPATH=portable BALANCER_WORKERS=2", `BALANCER_WORKERS="2": want 0 or 1: only the data path epoll has more`},
		{"two names at one address", nil, "BALANCER_BACKENDS=a=127.0.0.1:1,b=[::ffff:127.0.0.1]:1", `BALANCER_BACKENDS="b=[::ffff:127.0.0.1]:1": want an address of its own; a=127.0.0.1:1 is at 127.0.0.1:1 too`},
		{"an address that is not this machine's", nil, "BALANCER_LISTEN=192.0.2.1:8888", `BALANCER_LISTEN="192.0.2.1:8888": want an address that is free here (`},
		{"a page's address that is not this machine's", nil, "BALANCER_HTTP=192.0.2.1:8080", `BALANCER_HTTP="192.0.2.1:8080": want an address that is free here, or empty for no page (`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refuses(t, tt.args, append([]string{"BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_BACKENDS=127.0.0.1:9"}, strings.Fields(tt.set)...), tt.want)
		})
	}
	t.Run("everything at once", func(t *testing.T) {
		refuses(t, []string{"99999"}, []string{"BALANCER_DRAIN=soon", "BALANCER_HTTP=nowhere", "BALANCER_BACKENDS="}, "BALANCER_BACKENDS=", "BALANCER_DRAIN=", "BALANCER_HTTP=", "port=")
	})
}

func TestHelpPrintsEveryVariable(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"8888", "--help"}, {"healthcheck", "-h"}} {
		var out bytes.Buffer
		if err := run(t.Context(), args, []string{"BALANCER_DRAIN=soon"}, &out); err != nil || !strings.HasPrefix(out.String(), "usage: balancer [PORT]") {
			t.Fatalf("%v: %v, %s", args, err, &out)
		}
		for _, f := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
			if f.Anonymous {
				continue
			}
			if name := f.Tag.Get("env"); name == "" || f.Tag.Get("help") == "" || !strings.Contains(out.String(), "\n  "+name+" ") {
				t.Errorf("%v: field %s (%s) is not in the help", args, f.Name, name)
			}
		}
	}
}
