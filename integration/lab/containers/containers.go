package containers

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

// launcher starts containers from one image.
type launcher struct {
	image string
	idle  string // a container where a program runs by itself
}

// New builds the image, which is removed when the test ends, and returns a way
// to start stacks from it. It skips the test as Need does.
func New(t *testing.T) scenario.Boot {
	t.Helper()
	Need(t)
	l := build(t, root(t), "--build-arg=GO_IMAGE="+GoImage(t))
	l.idle = l.start(t, "pingserver", nil)
	return l
}

// build builds an image from the Dockerfile in a directory. It is removed when
// the test ends.
func build(t *testing.T, dir string, options ...string) launcher {
	t.Helper()
	image := "udplab-test:" + strings.ToLower(rand.Text())
	try(t, slices.Concat([]string{"build", "--tag=" + image}, options, []string{dir})...)
	t.Cleanup(func() { try(t, "image", "rm", image) })
	return launcher{image: image}
}

// newNetwork makes a network that is removed when the test ends, after the
// containers in it, and returns its name.
func newNetwork(t *testing.T, options ...string) string {
	t.Helper()
	name := "udplab-test-" + strings.ToLower(rand.Text())
	try(t, slices.Concat([]string{"network", "create"}, options, []string{name})...)
	t.Cleanup(func() { try(t, "network", "rm", name) })
	return name
}

// create makes a container, which has no more rights than the compose file gives
// and is removed when the test ends, and returns its ID.
func (l launcher) create(t *testing.T, program string, env map[string]string, options ...string) (string, error) {
	args := slices.Concat([]string{"create", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"},
		variables(map[string]string{"LOG_FORMAT": "json"}), variables(env), options, []string{l.image, "/" + program})
	id, err := Docker(t.Context(), args...)
	if err == nil {
		t.Cleanup(func() { try(t, "rm", "--force", id) })
	}
	return id, err
}

// variables is docker's options for variables of a program.
func variables(env map[string]string) (options []string) {
	for name, value := range env {
		options = append(options, "--env="+name+"="+value)
	}
	return options
}

// start creates a container, starts it and returns once its program listens.
func (l launcher) start(t *testing.T, program string, env map[string]string, options ...string) string {
	t.Helper()
	id, err := l.create(t, program, env, options...)
	if err == nil {
		err = startAgain(labtest.Within(t), id, program)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// startAgain starts a container that does not run, and returns once its program
// listens.
func startAgain(ctx context.Context, id, program string) error {
	if _, err := Docker(ctx, "start", id); err != nil {
		return err
	}
	return lab.Until(ctx, func(ctx context.Context) error {
		_, err := Docker(ctx, "exec", id, "/"+program, "healthcheck")
		return err
	})
}

// run runs a program in a container until its end.
func run(ctx context.Context, id string, env map[string]string, program string, args ...string) (lab.Exit, error) {
	return docker(ctx, slices.Concat([]string{"exec"}, variables(env), []string{id, "/" + program}, args)...)
}

// Run runs a program beside one that does nothing, which is quicker than a
// container of its own.
func (l launcher) Run(t *testing.T, program string, env map[string]string, args ...string) lab.Exit {
	t.Helper()
	exit, err := run(labtest.Within(t), l.idle, env, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// end sends a container a signal that ends it, and returns once it has ended,
// with its exit code and what it has printed in all its lives.
func end(ctx context.Context, id, signal string) (lab.Exit, error) {
	_, err1 := Docker(ctx, "kill", "--signal="+signal, id)
	code, err2 := Docker(ctx, "wait", id)
	exit, err3 := docker(ctx, "logs", id)
	var err4 error
	exit.Code, err4 = strconv.Atoi(code)
	return exit, errors.Join(err1, err2, err3, err4)
}

// stack is one in containers.
type stack struct {
	servers    map[string]string // their containers
	balancer   string            // its container
	addr, page string            // where this machine reaches the balancer
}

func (l launcher) Start(t *testing.T, o scenario.Options) scenario.Stack {
	t.Helper()
	network := "--network=" + newNetwork(t)
	s := &stack{servers: map[string]string{}}
	backends := ""
	for _, name := range []string{"server1", "server2", "server3"} {
		options := append(variables(o.Server), network, "--network-alias="+name)
		s.servers[name] = l.start(t, "pingserver", map[string]string{"PINGSERVER_NAME": name}, options...)
		backends += "," + name + "=" + name + ":2526"
	}
	options := append(variables(o.Balancer), network, "--network-alias=balancer",
		"--publish=127.0.0.1::8888/udp", "--publish=127.0.0.1::8080/tcp") // at any free ports
	s.balancer = l.start(t, "balancer", map[string]string{"BALANCER_BACKENDS": backends[1:]}, options...)
	s.addr, s.page = try(t, "port", s.balancer, "8888/udp"), try(t, "port", s.balancer, "8080/tcp")
	return s
}

func (s *stack) Addr() netip.AddrPort { return netip.MustParseAddrPort(s.addr) }

func (s *stack) URL() string { return "http://" + s.page }

// Client runs in a server's container, so that its pings cross the network like
// those of the compose file's client.
func (s *stack) Client(ctx context.Context, args ...string) (lab.Exit, error) {
	return run(ctx, s.servers["server3"], map[string]string{"CLIENT_TARGET": "balancer:8888"}, "client", args...)
}

func (s *stack) SelfCheck(ctx context.Context, service string) (lab.Exit, error) {
	if service == "balancer" {
		return run(ctx, s.balancer, nil, "balancer", "healthcheck")
	}
	return run(ctx, s.servers[service], nil, "pingserver", "healthcheck")
}

// KillServer leaves the container, so that it can be started again; its name
// is gone from the network while it is dead, and its address is anybody's.
func (s *stack) KillServer(ctx context.Context, name string) error {
	_, err := end(ctx, s.servers[name], "SIGKILL")
	return err
}

func (s *stack) StartServer(ctx context.Context, name string) error {
	return startAgain(ctx, s.servers[name], "pingserver")
}

func (s *stack) Stop(ctx context.Context) (lab.Exit, error) { return end(ctx, s.balancer, "SIGTERM") }
