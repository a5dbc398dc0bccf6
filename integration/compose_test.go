package integration

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/containers"
	"udplab/integration/scenario"
)

func TestContainers(t *testing.T) {
	scenario.Run(t, containers.New(t))
}

// TestCompose brings up the real compose file with every compose there is.
func TestCompose(t *testing.T) {
	containers.Need(t)
	for _, compose := range composes(t) {
		t.Run(strings.Join(compose, " "), func(t *testing.T) {
			composeRuns(t, newProject(t, compose))
		})
	}
}

// composes is each compose of this machine, as a command.
func composes(t *testing.T) (found [][]string) {
	t.Helper()
	for _, command := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.Command(command[0], append(slices.Clone(command[1:]), "version")...).Run() == nil {
			found = append(found, command)
		}
	}
	if len(found) == 0 {
		containers.Missing(t, "there is neither docker compose nor docker-compose")
	}
	return found
}

// composeRuns looks at runs of the client service: three, of which the first is
// up's own, and two more over restarts.
func composeRuns(t *testing.T, p project) {
	p.compose("up", "--build", "--detach")
	// What up shows of its client: it ends by itself, with ten answers.
	client := p.docker("ps", "--all", "--quiet",
		"--filter", "label=com.docker.compose.project="+p.name, "--filter", "label=com.docker.compose.service=client")
	if code := p.docker("wait", client); code != "0" {
		t.Errorf("up's client exited with %s", code)
	}
	first := p.docker("logs", client)
	runs := []string{first, p.compose("run", "--rm", "-T", "client"), p.compose("run", "--rm", "-T", "client")}
	for i, want := range []string{"1231231231", "2312312312", "3123123123"} {
		if got := orderOf(runs[i]); got != want {
			t.Errorf("run %d: answers came from %s, want %s\n%s", i+1, got, want, runs[i])
		}
	}
	// Whose turn it is lives on a volume: longer than the balancer's process, and
	// than its container.
	p.compose("restart", "balancer")
	if got := orderOf(p.compose("run", "--rm", "-T", "client")); got != "1231231231" {
		t.Errorf("after a restart of the balancer: answers came from %s", got)
	}
	p.compose("down")
	p.compose("up", "--detach", "balancer")
	if got := orderOf(p.compose("run", "--rm", "-T", "client")); got != "2312312312" {
		t.Errorf("after all containers were taken down and made anew: answers came from %s", got)
	}
	for _, wanted := range []string{"docker compose run --rm client", "http://localhost:" + p.httpPort} {
		if !strings.Contains(first, wanted) {
			t.Errorf("up's client does not end with %q\n%s", wanted, first)
		}
	}
}

var answerLine = regexp.MustCompile(`(?m)^server(\d)\s+seq=`)

// orderOf reads who answered from what a client printed for people.
func orderOf(printed string) (order string) {
	for _, line := range answerLine.FindAllStringSubmatch(printed, -1) {
		order += line[1]
	}
	return order
}

// project is one lab of compose beside any other that runs on this machine: it
// has its own name, network and ports.
type project struct {
	t        *testing.T
	command  []string
	root     string
	name     string
	net      string // the first three numbers of its addresses
	udpPort  string
	httpPort string
	environ  []string
}

// newProject prepares a project that is taken down when the test ends.
func newProject(t *testing.T, command []string) project {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	udp, err1 := lab.FreePort("udp")
	tcp, err2 := lab.FreePort("tcp")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	subnet := containers.Subnet(t).Addr().String()
	p := project{
		t: t, command: command, root: root,
		name:    "udplab-test-" + strings.ToLower(rand.Text()),
		net:     strings.TrimSuffix(subnet, ".0"),
		udpPort: udp, httpPort: tcp,
	}
	// What the lab is depends on nothing that the tests were started with.
	own := regexp.MustCompile(`^(COMPOSE|UDPLAB|PINGSERVER|BALANCER|CLIENT)_`)
	p.environ = slices.DeleteFunc(os.Environ(), own.MatchString)
	p.environ = append(p.environ,
		"COMPOSE_PROJECT_NAME="+p.name,
		"UDPLAB_IMAGE="+p.name,
		"GO_IMAGE="+containers.GoImage(t),
		"UDPLAB_NET="+p.net,
		"UDPLAB_PORT="+p.udpPort,
		"UDPLAB_HTTP_PORT="+p.httpPort,
	)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the services said\n%s", p.compose("logs", "--no-color"))
		}
		p.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
		p.docker("image", "rm", p.name)
	})
	return p
}

// compose runs a command of compose and returns its stdout.
func (p project) compose(args ...string) string {
	p.t.Helper()
	return p.run(slices.Concat(p.command, args)...)
}

func (p project) docker(args ...string) string {
	p.t.Helper()
	return p.run(append([]string{"docker"}, args...)...)
}

// run runs a command, which builds at the longest, and fails the test if it
// fails.
func (p project) run(command ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = p.root, p.environ
	exit, err := lab.Run(ctx, cmd)
	if err != nil || exit.Code != 0 {
		p.t.Errorf("%s: exit %d, %v\n%s%s", strings.Join(command, " "), exit.Code, err, exit.Stdout, exit.Stderr)
	}
	return strings.TrimSpace(exit.Stdout)
}
