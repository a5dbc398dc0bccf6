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
	tcnetwork "github.com/testcontainers/testcontainers-go/network"

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
	l.idle = l.start(t, service{program: "pingserver"})
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

// service is one container.
type service struct {
	program string
	env     map[string]string
	network string                      // its name; empty: Docker's own
	name    string                      // in that network
	at      netip.Addr                  // in that network; not valid: Docker's choice
	ports   map[string]string           // by the container's: those of 127.0.0.1 that are published
	host    func(*container.HostConfig) // more of its host's side; nil: no more
}

// create makes a container, which has no more rights than the compose file gives
// and is removed when the test ends, and returns its ID.
func (l launcher) create(t *testing.T, s service) (id string, err error) {
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithNoStart(),
		testcontainers.WithCmd("/" + s.program),
		testcontainers.WithEnv(map[string]string{"LOG_FORMAT": "json"}),
		testcontainers.WithEnv(s.env),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			host.ReadonlyRootfs = true
			host.CapDrop = []string{"ALL"}
			host.SecurityOpt = []string{"no-new-privileges"}
			host.PortBindings = network.PortMap{}
			for inside, outside := range s.ports {
				host.PortBindings[network.MustParsePort(inside)] = []network.PortBinding{
					{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: outside},
				}
			}
			if s.host != nil {
				s.host(host)
			}
		}),
	}
	for inside := range s.ports {
		options = append(options, testcontainers.WithExposedPorts(inside))
	}
	if s.network != "" {
		options = append(options, tcnetwork.WithNetworkName([]string{s.name}, s.network))
	}
	if s.at.IsValid() {
		options = append(options, testcontainers.WithEndpointSettingsModifier(func(settings map[string]*network.EndpointSettings) {
			settings[s.network].IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: s.at}
		}))
	}
	c, err := testcontainers.Run(t.Context(), l.image, options...)
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		return "", fmt.Errorf("a container for %s: %w", s.program, err)
	}
	return c.GetContainerID(), nil
}

// variables is docker's options for variables of a program.
func variables(env map[string]string) (options []string) {
	for name, value := range env {
		options = append(options, "--env="+name+"="+value)
	}
	return options
}

// start creates a container, starts it and returns once its program listens.
func (l launcher) start(t *testing.T, s service) string {
	t.Helper()
	id, err := l.create(t, s)
	if err == nil {
		err = startAgain(labtest.Within(t), id, s.program)
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
	network := newNetwork(t)
	s := &stack{servers: map[string]string{}}
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
	return startAgain(ctx, s.servers[name], "pingserver")
}

func (s *stack) Stop(ctx context.Context) (lab.Exit, error) { return end(ctx, s.balancer, "SIGTERM") }
