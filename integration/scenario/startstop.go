package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

func selfChecks(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{})
	for _, service := range []string{"balancer", "server1", "server2", "server3"} {
		exit, err := stack.SelfCheck(labtest.Within(t), service)
		if err != nil {
			t.Fatal(err)
		}
		if exit.Code != 0 {
			t.Errorf("%s lives, its self-check exits with %d\n%s", service, exit.Code, exit.Stderr)
		}
	}
	if turns := statusOf(t, stack).Turns; turns != 0 {
		t.Errorf("the self-checks took %d turns", turns)
	}
	const nobody = "127.0.0.1:1"
	for program, variable := range map[string]string{"balancer": "BALANCER_HTTP", "pingserver": "PINGSERVER_LISTEN"} {
		exit := boot.Run(t, program, map[string]string{variable: nobody}, "healthcheck")
		if exit.Code != 1 || !strings.Contains(exit.Stderr, nobody) {
			t.Errorf("no %s is at %s, the self-check exits with %d\n%s", program, nobody, exit.Code, exit.Stderr)
		}
	}
}

func cleanStop(t *testing.T, boot Boot) {
	stack := boot.Start(t, Options{
		Server: map[string]string{"PINGSERVER_DELAY": "300ms"},
		// It ends as soon as no answer is waited for; this is the longest.
		Balancer: map[string]string{"BALANCER_DRAIN": "5s"},
	})
	client := dial(t, stack)
	client.ping(1)
	client.send("PING 2 the last")
	labtest.Eventually(t, "the balancer has both pings", func(ctx context.Context) error {
		status, err := lab.ReadStatus(ctx, stack.URL())
		if err == nil && status.Forwarded != 2 {
			err = fmt.Errorf("it has forwarded %d", status.Forwarded)
		}
		return err
	})

	exit, err := stack.Stop(labtest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := client.receive(); string(got) != "PING 2 THE LAST server2" {
		t.Errorf("the answer that was on its way is %q", got)
	}
	if exit.Code != 0 || exit.Stderr != "" {
		t.Errorf("the balancer was told to end and exited with %d\n%s", exit.Code, exit.Stderr)
	}
	if got, want := lastCount(t, exit.Stdout), (count{Received: 2, Forwarded: 2, Replied: 2}); got != want {
		t.Errorf("the balancer counted %+v, want %+v", got, want)
	}
}

// count is the balancer's last word on what became of all datagrams.
type count struct{ Received, Forwarded, Replied, Dropped int }

// lastCount reads it from the last line of the balancer's log.
func lastCount(t *testing.T, log string) (c count) {
	t.Helper()
	log = strings.TrimSpace(log)
	last := log[strings.LastIndexByte(log, '\n')+1:]
	var line struct {
		Message string `json:"msg"`
		count
	}
	if err := json.Unmarshal([]byte(last), &line); err != nil || !strings.HasPrefix(line.Message, "stopped: ") {
		t.Fatalf("the log ends with %q, want its sum (%v)", last, err)
	}
	return line.count
}

// wrongConfiguration starts programs as nobody should. Each has to say what is
// wrong, a line for each thing, and to do nothing else.
func wrongConfiguration(t *testing.T, boot Boot) {
	type env = map[string]string
	for _, c := range []struct {
		name    string
		program string
		env     env
		args    []string
		want    []string // how the lines of stderr begin
	}{
		{"balancer: a flag that does not exist", "balancer", nil, []string{"--fast"}, []string{`flag="--fast": want `}},
		{"balancer: a port beyond the last", "balancer", nil, []string{"70000"}, []string{`port="70000": want `}},
		{"balancer: a port that is no number", "balancer", nil, []string{"http"}, []string{`port="http": want `}},
		{"balancer: an argument too many", "balancer", nil, []string{"8888", "9999"}, []string{`argument="9999": want `}},
		{"balancer: a listening port beyond the last", "balancer", env{"BALANCER_LISTEN": ":65536"}, nil, []string{`BALANCER_LISTEN=":65536": want `}},
		{"balancer: a page without a port", "balancer", env{"BALANCER_HTTP": "localhost"}, nil, []string{`BALANCER_HTTP="localhost": want `}},
		{"balancer: an address that is not here", "balancer", env{"BALANCER_LISTEN": "192.0.2.1:8888", "BALANCER_HTTP": ""}, nil, []string{`BALANCER_LISTEN="192.0.2.1:8888": want `}},
		{"balancer: a word for a number", "balancer", env{"BALANCER_MAX_SESSIONS": "many"}, nil, []string{`BALANCER_MAX_SESSIONS="many": want `}},
		{"balancer: a number below the least", "balancer", env{"BALANCER_MAX_SESSIONS": "0"}, nil, []string{`BALANCER_MAX_SESSIONS="0": want `}},
		{"balancer: a word for a duration", "balancer", env{"BALANCER_SESSION_IDLE": "soon"}, nil, []string{`BALANCER_SESSION_IDLE="soon": want `}},
		{"balancer: a choice that there is not", "balancer", env{"BALANCER_WHEN_DOWN": "explode"}, nil, []string{`BALANCER_WHEN_DOWN="explode": want `}},
		{"balancer: no servers", "balancer", env{"BALANCER_BACKENDS": ""}, nil, []string{`BALANCER_BACKENDS="": want `}},
		{"balancer: an entry of the list is missing", "balancer", env{"BALANCER_BACKENDS": "a=localhost:1,"}, nil, []string{`BALANCER_BACKENDS="a=localhost:1,": want `}},
		{"balancer: a server's port beyond the last", "balancer", env{"BALANCER_BACKENDS": "a=localhost:65536"}, nil, []string{`BALANCER_BACKENDS="a=localhost:65536": want `}},
		{"balancer: the same server twice", "balancer", env{"BALANCER_BACKENDS": "a=localhost:1,b=localhost:1"}, nil, []string{`BALANCER_BACKENDS="b=localhost:1": want `}},
		{"balancer: the same name twice", "balancer", env{"BALANCER_BACKENDS": "a=localhost:1,a=localhost:2"}, nil, []string{`BALANCER_BACKENDS="a=localhost:2": want `}},
		{"balancer: the same server under two names", "balancer", env{"BALANCER_BACKENDS": "a=localhost:1,b=127.0.0.1:1"}, nil, []string{`BALANCER_BACKENDS="b=127.0.0.1:1": want `}},
		{"balancer: a name that no resolver could know", "balancer", env{"BALANCER_BACKENDS": "a=no..such:2526"}, nil, []string{`BALANCER_BACKENDS="a=no..such:2526": want `}},
		{"balancer: three things at once", "balancer", env{"BALANCER_DRAIN": "-1s", "BALANCER_PROBE_RISE": "x", "LOG_FORMAT": "loud"}, nil, []string{
			`BALANCER_PROBE_RISE="x": want `, `BALANCER_DRAIN="-1s": want `, `LOG_FORMAT="loud": want `,
		}},

		{"pingserver: a flag that does not exist", "pingserver", nil, []string{"-x"}, []string{`flag="-x": want `}},
		{"pingserver: port 0", "pingserver", nil, []string{"0"}, []string{`port="0": want `}},
		{"pingserver: a listening port beyond the last", "pingserver", env{"PINGSERVER_LISTEN": ":99999"}, nil, []string{`PINGSERVER_LISTEN=":99999": want `}},
		{"pingserver: more loss than all", "pingserver", env{"PINGSERVER_LOSS": "1.5"}, nil, []string{`PINGSERVER_LOSS="1.5": want `}},
		{"pingserver: a word for a number", "pingserver", env{"PINGSERVER_LOSS": "half"}, nil, []string{`PINGSERVER_LOSS="half": want `}},
		{"pingserver: a delay below none", "pingserver", env{"PINGSERVER_DELAY": "-5ms"}, nil, []string{`PINGSERVER_DELAY="-5ms": want `}},
		{"pingserver: a seed that is no number", "pingserver", env{"PINGSERVER_SEED": "lucky"}, nil, []string{`PINGSERVER_SEED="lucky": want `}},
		{"pingserver: a name of two words", "pingserver", env{"PINGSERVER_NAME": "server 1"}, nil, []string{`PINGSERVER_NAME="server 1": want `}},

		{"client: a flag that does not exist", "client", nil, []string{"--fast", "localhost", "8888"}, []string{`flag="--fast": want `}},
		{"client: a word for a number", "client", nil, []string{"-c", "many"}, []string{`--count="many": want `}},
		{"client: a duration that is none", "client", nil, []string{"--timeout", "soon"}, []string{`--timeout="soon": want `}},
		{"client: a flag without its value", "client", nil, []string{"--count"}, []string{`--count="": want `}},
		{"client: a port beyond the last", "client", nil, []string{"localhost", "70000"}, []string{`port="70000": want `}},
		{"client: an argument too many", "client", nil, []string{"localhost", "8888", "x"}, []string{`argument="x": want `}},
		{"client: more bytes than a datagram holds", "client", env{"CLIENT_SIZE": "65508"}, nil, []string{`CLIENT_SIZE="65508": want `}},
		{"client: more loss than all", "client", nil, []string{"--max-loss", "101"}, []string{`--max-loss="101": want `}},
		{"client: a cycle with a server twice", "client", nil, []string{"--expect-cycle", "a,b,a"}, []string{`--expect-cycle="a,b,a": want `}},
		{"client: a target that does not resolve", "client", nil, []string{"nobody.invalid", "8888"}, []string{`target nobody.invalid:8888: `}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // some wait for a resolver
			exit := boot.Run(t, c.program, c.env, c.args...)
			if exit.Code != 2 {
				t.Errorf("exit %d, want 2", exit.Code)
			}
			if exit.Stdout != "" {
				t.Errorf("stdout has %q, want nothing", exit.Stdout)
			}
			lines := strings.Split(strings.TrimRight(exit.Stderr, "\n"), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("stderr has %d lines, want %d:\n%s", len(lines), len(c.want), exit.Stderr)
			}
			for i, want := range c.want {
				want = c.program + ": " + want
				if !strings.HasPrefix(lines[i], want) || len(lines[i]) == len(want) {
					t.Errorf("stderr has %q, want %s…", lines[i], want)
				}
			}
		})
	}
}
