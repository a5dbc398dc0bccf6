package containers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

// launcher starts containers from one image.
type launcher struct {
	image string
	idle  testcontainers.Container // where a program runs by itself
}

// New builds the image, which is removed when the test ends, and returns a way
// to start stacks from it. It skips the test as Need does.
func New(t *testing.T) scenario.Boot {
	t.Helper()
	Need(t)
	l := build(t, root(t), "--build-arg=GO_IMAGE="+GoImage(t))
	l.idle = l.start(t, service{program: "pingserver", network: newNetwork(t), name: "idle"})
	return l
}

// build builds an image from the Dockerfile in a directory. It is removed when
// the test ends.
func build(t *testing.T, dir string, options ...string) launcher {
	t.Helper()
	image := newName()
	try(t, slices.Concat([]string{"build", "--tag=" + image}, options, []string{dir})...)
	t.Cleanup(func() { try(t, "image", "rm", image) })
	return launcher{image: image}
}

// newName is a name for an image or a network that nobody else has.
func newName() string { return "udplab-test-" + strings.ToLower(rand.Text()) }

// newNetwork makes a network that is removed when the test ends, after the
// containers in it, and returns its name.
func newNetwork(t *testing.T, options ...string) string {
	t.Helper()
	name := newName()
	try(t, slices.Concat([]string{"network", "create"}, options, []string{name})...)
	t.Cleanup(func() { try(t, "network", "rm", name) })
	return name
}

// service is one container.
type service struct {
	program       string
	env           map[string]string
	network, name string                      // its network, and its name there
	at            netip.Addr                  // in that network; not valid: Docker's choice
	ports         map[string]string           // by the container's: those of 127.0.0.1 that are published
	host          func(*container.HostConfig) // more of its host's side; nil: no more
}

// launch starts a container, which has no more rights than the compose file
// gives, and returns once its program listens. It is removed when the test ends.
func (l launcher) launch(t *testing.T, s service) (testcontainers.Container, error) {
	env := map[string]string{"LOG_FORMAT": "json"}
	maps.Copy(env, s.env)
	request := testcontainers.ContainerRequest{
		Image: l.image, Cmd: []string{"/" + s.program}, Env: env,
		Networks: []string{s.network}, NetworkAliases: map[string][]string{s.network: {s.name}},
		ExposedPorts: slices.Collect(maps.Keys(s.ports)),
		WaitingFor:   wait.ForExec([]string{"/" + s.program, "healthcheck"}).WithStartupTimeout(lab.Patience),
		HostConfigModifier: func(host *container.HostConfig) {
			host.ReadonlyRootfs, host.CapDrop, host.SecurityOpt = true, []string{"ALL"}, []string{"no-new-privileges"}
			host.PortBindings = network.PortMap{}
			for inside, outside := range s.ports {
				here := network.PortBinding{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: outside}
				host.PortBindings[network.MustParsePort(inside)] = []network.PortBinding{here}
			}
			if s.host != nil {
				s.host(host)
			}
		},
		EndpointSettingsModifier: func(settings map[string]*network.EndpointSettings) {
			settings[s.network].IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: s.at}
		},
	}
	c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{ContainerRequest: request, Started: true})
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		return nil, fmt.Errorf("a container for %s: %w", s.program, err)
	}
	return c, nil
}

// start is launch for a test that cannot do without it.
func (l launcher) start(t *testing.T, s service) testcontainers.Container {
	t.Helper()
	c, err := l.launch(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a program in a container until its end.
func run(ctx context.Context, c testcontainers.Container, env map[string]string, program string, args ...string) (lab.Exit, error) {
	command := []string{"exec"}
	for name, value := range env {
		command = append(command, "--env="+name+"="+value)
	}
	return docker(ctx, append(append(command, c.GetContainerID(), "/"+program), args...)...)
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

// end sends a container a signal that ends it, and returns once it has ended, as
// await does.
func end(ctx context.Context, c testcontainers.Container, signal string) (lab.Exit, error) {
	if _, err := Docker(ctx, "kill", "--signal="+signal, c.GetContainerID()); err != nil {
		return lab.Exit{}, err
	}
	return await(ctx, c)
}

// await waits until a container has ended. It returns its exit code, as Docker
// says it, and what it has printed in all its lives.
func await(ctx context.Context, c testcontainers.Container) (lab.Exit, error) {
	code, err1 := Docker(ctx, "wait", c.GetContainerID())
	exit, err2 := docker(ctx, "logs", c.GetContainerID())
	var err3 error
	exit.Code, err3 = strconv.Atoi(code)
	return exit, errors.Join(err1, err2, err3)
}

// stack is one in containers.
type stack struct {
	servers    map[string]testcontainers.Container
	balancer   testcontainers.Container
	addr, page string // where this machine reaches the balancer
}

func (l launcher) Start(t *testing.T, o scenario.Options) scenario.Stack {
	t.Helper()
	network := newNetwork(t)
	s := &stack{servers: map[string]testcontainers.Container{}}
	backends := ""
	for _, name := range []string{"server1", "server2", "server3"} {
		env := map[string]string{"PINGSERVER_NAME": name}
		maps.Copy(env, o.Server)
		s.servers[name] = l.start(t, service{program: "pingserver", env: env, network: network, name: name})
		backends += "," + name + "=" + name + ":2526"
	}
	udp, err1 := lab.FreePort("udp")
	tcp, err2 := lab.FreePort("tcp")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	s.addr, s.page = "127.0.0.1:"+udp, "127.0.0.1:"+tcp
	env := map[string]string{"BALANCER_BACKENDS": backends[1:]}
	maps.Copy(env, o.Balancer)
	s.balancer = l.start(t, service{
		program: "balancer", env: env, network: network, name: "balancer",
		ports: map[string]string{"8888/udp": udp, "8080/tcp": tcp},
	})
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
	return s.servers[name].Start(ctx)
}

func (s *stack) Stop(ctx context.Context) (lab.Exit, error) { return end(ctx, s.balancer, "SIGTERM") }
