package scenario

import (
	"slices"
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
	if turns := labtest.Status(t, stack.URL()).Turns; turns != 0 {
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
	client.send("PING 1 the first")
	client.receive()
	client.send("PING 2 the last")
	labtest.AwaitStatus(t, stack.URL(), "the balancer has both pings", func(s lab.Status) bool { return s.Forwarded == 2 })

	exit, err := stack.Stop(labtest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := client.receive(); got != "PING 2 THE LAST server2" {
		t.Errorf("the answer that was on its way is %q", got)
	}
	if exit.Code != 0 || exit.Stderr != "" {
		t.Errorf("the balancer was told to end and exited with %d\n%s", exit.Code, exit.Stderr)
	}
	log := strings.Split(strings.TrimSpace(exit.Stdout), "\n")
	for _, want := range []string{`"msg":"stopped: `, `"received":2,`, `"forwarded":2,`, `"replied":2,`, `"dropped":0`} {
		if last := log[len(log)-1]; !strings.Contains(last, want) {
			t.Errorf("the balancer's log ends with %s, want %s in it", last, want)
		}
	}
}

// wrongConfiguration starts programs with what they cannot take. Each has to say
// what is wrong, a line for each thing, and to do nothing else. What else is
// wrong the services' own tests prove.
func wrongConfiguration(t *testing.T, boot Boot) {
	for _, c := range []struct {
		program string
		env     map[string]string
		args    []string
		want    []string // how the lines of stderr begin, after the program's name
	}{
		{"balancer", map[string]string{"BALANCER_PROBE_RISE": "x", "BALANCER_DRAIN": "-1s", "LOG_FORMAT": "loud"}, nil, []string{
			`BALANCER_PROBE_RISE="x": want `, `BALANCER_DRAIN="-1s": want `, `LOG_FORMAT="loud": want `,
		}},
		{"pingserver", map[string]string{"PINGSERVER_LOSS": "1.5"}, nil, []string{`PINGSERVER_LOSS="1.5": want `}},
		{"client", nil, []string{"--fast", "localhost", "8888"}, []string{`flag="--fast": want `}},
	} {
		exit := boot.Run(t, c.program, c.env, c.args...)
		lines := strings.Split(strings.TrimSpace(exit.Stderr), "\n")
		named := slices.EqualFunc(lines, c.want, func(line, want string) bool { return strings.HasPrefix(line, c.program+": "+want) })
		if exit.Code != 2 || exit.Stdout != "" || !named {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want exit 2 and lines that begin with %q", c.program, exit.Code, exit.Stdout, exit.Stderr, c.want)
		}
	}
}
