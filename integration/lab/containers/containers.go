package containers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
	"golang.org/x/sync/errgroup"

	"udplab/integration/lab"
	"udplab/integration/scenario"
)

// launcher starts stacks from one image.
type launcher struct {
	docker *client.Client
	image  string
	idle   *testcontainers.DockerContainer // where a program runs by itself
}

// New builds the image, which is removed when the test ends, and returns a way
// to start stacks from it. It skips the test as Need does.
func New(t *testing.T) scenario.Boot {
	t.Helper()
	docker := Need(t)
	base := GoImage(t, docker)
	l := newLauncher(t, docker, root(t), map[string]*string{"GO_IMAGE": &base})
	var err error
	if l.idle, err = l.start(t, service{program: "pingserver"}); err != nil {
		t.Fatal(err)
	}
	return l
}

// newLauncher builds an image from the Dockerfile in a directory. It is removed
// when the test ends.
func newLauncher(t *testing.T, docker *client.Client, dir string, args map[string]*string) launcher {
	t.Helper()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	var output bytes.Buffer
	image, err := provider.BuildImage(t.Context(), &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		Context:        dir,
		Repo:           "udplab-test",
		Tag:            strings.ToLower(rand.Text()), // of this run alone
		BuildArgs:      args,
		BuildLogWriter: &output,
	}})
	if err != nil {
		t.Fatalf("building the image: %v\n%s", err, &output)
	}
	t.Cleanup(func() {
		if _, err := docker.ImageRemove(context.Background(), image, client.ImageRemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	return launcher{docker: docker, image: image}
}

// service is one container.
type service struct {
	program string
	env     map[string]string
	network *testcontainers.DockerNetwork // nil: Docker's own
	name    string                        // in that network
	ports   map[string]string             // by the container's: those of 127.0.0.1 that are published
}

// options are what every container of the service has: no more rights than the
// compose file gives. More changes what is said of its host's side.
func (s service) options(more ...func(*container.HostConfig)) []testcontainers.ContainerCustomizer {
	env := map[string]string{"LOG_FORMAT": "json"}
	maps.Copy(env, s.env)
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(env),
		testcontainers.WithCmd("/" + s.program),
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
			for _, change := range more {
				change(host)
			}
		}),
	}
	for inside := range s.ports {
		options = append(options, testcontainers.WithExposedPorts(inside))
	}
	if s.network != nil {
		options = append(options, tcnetwork.WithNetwork([]string{s.name}, s.network))
	}
	return options
}

// start starts a container, which is removed when the test ends, and waits until
// its program listens.
func (l launcher) start(t *testing.T, s service) (*testcontainers.DockerContainer, error) {
	options := append(s.options(), testcontainers.WithWaitStrategyAndDeadline(lab.Patience, wait.ForLog(`"event":"listening"`)))
	c, err := testcontainers.Run(t.Context(), l.image, options...)
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.program, err)
	}
	return c, nil
}

// Run runs a program beside one that does nothing, which is quicker than a
// container of its own.
func (l launcher) Run(t *testing.T, program string, env map[string]string, args ...string) lab.Exit {
	t.Helper()
	exit, err := run(t.Context(), l.idle, env, append([]string{"/" + program}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// run runs a command in a container until its end.
func run(ctx context.Context, in *testcontainers.DockerContainer, env map[string]string, command ...string) (lab.Exit, error) {
	var variables []string
	for name, value := range env {
		variables = append(variables, name+"="+value)
	}
	code, output, err := in.Exec(ctx, command, exec.WithEnv(variables))
	if err != nil {
		return lab.Exit{}, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return split(code, output)
}

// split takes apart what Docker puts into one stream.
func split(code int, output io.Reader) (lab.Exit, error) {
	var stdout, stderr bytes.Buffer
	_, err := stdcopy.StdCopy(&stdout, &stderr, output)
	return lab.Exit{Code: code, Stdout: stdout.String(), Stderr: stderr.String()}, err
}

// end sends a container a signal that ends it, and waits until it has ended.
func (l launcher) end(ctx context.Context, id, signal string) (lab.Exit, error) {
	if _, err := l.docker.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal}); err != nil {
		return lab.Exit{}, err
	}
	ended := l.docker.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case answer := <-ended.Result:
		return l.output(ctx, id, int(answer.StatusCode))
	case err := <-ended.Error:
		return lab.Exit{}, err
	}
}

// output is what a container has printed in all its lives.
func (l launcher) output(ctx context.Context, id string, code int) (lab.Exit, error) {
	logs, err := l.docker.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return lab.Exit{}, err
	}
	defer logs.Close()
	return split(code, logs)
}

// stack is one in containers.
type stack struct {
	launcher
	parts  map[string]*testcontainers.DockerContainer
	listen string // published port
	page   string // published port
}

// clients is the container in which clients run, so that their pings cross the
// network like those of the compose file's client.
const clients = "clients"

func (l launcher) Start(t *testing.T, o scenario.Options) scenario.Stack {
	t.Helper()
	network, err := tcnetwork.New(t.Context())
	testcontainers.CleanupNetwork(t, network)
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{launcher: l, parts: map[string]*testcontainers.DockerContainer{}}
	var backends []string
	services := []service{{program: "pingserver", network: network, name: clients}}
	for i := range 3 {
		name := fmt.Sprintf("server%d", i+1)
		env := map[string]string{"PINGSERVER_NAME": name}
		maps.Copy(env, o.Server)
		services = append(services, service{program: "pingserver", env: env, network: network, name: name})
		backends = append(backends, name+"="+name+":2526")
	}
	s.startAll(t, services...)

	udp, err1 := lab.FreePort("udp")
	tcp, err2 := lab.FreePort("tcp")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	s.listen, s.page = udp, tcp
	env := map[string]string{"BALANCER_BACKENDS": strings.Join(backends, ",")}
	maps.Copy(env, o.Balancer)
	s.startAll(t, service{
		program: "balancer", env: env, network: network, name: "balancer",
		ports: map[string]string{"8888/udp": s.listen, "8080/tcp": s.page},
	})
	return s
}

// startAll starts containers at once.
func (s *stack) startAll(t *testing.T, services ...service) {
	t.Helper()
	var group errgroup.Group
	started := make([]*testcontainers.DockerContainer, len(services))
	for i, service := range services {
		group.Go(func() (err error) {
			started[i], err = s.start(t, service)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, service := range services {
		s.parts[service.name] = started[i]
	}
}

func (s *stack) Addr() netip.AddrPort {
	return netip.MustParseAddrPort("127.0.0.1:" + s.listen)
}

func (s *stack) URL() string { return "http://127.0.0.1:" + s.page }

func (s *stack) Client(ctx context.Context, args ...string) (lab.Exit, error) {
	target := map[string]string{"CLIENT_TARGET": "balancer:8888"}
	return run(ctx, s.parts[clients], target, append([]string{"/client"}, args...)...)
}

func (s *stack) SelfCheck(ctx context.Context, service string) (lab.Exit, error) {
	program := "/pingserver"
	if service == "balancer" {
		program = "/balancer"
	}
	return run(ctx, s.parts[service], nil, program, "healthcheck")
}

// KillServer leaves the container, so that it can be started again; its name
// is gone from the network while it is dead, and its address is anybody's.
func (s *stack) KillServer(ctx context.Context, name string) error {
	_, err := s.end(ctx, s.parts[name].GetContainerID(), "SIGKILL")
	return err
}

func (s *stack) StartServer(ctx context.Context, name string) error {
	if _, err := s.docker.ContainerStart(ctx, s.parts[name].GetContainerID(), client.ContainerStartOptions{}); err != nil {
		return err
	}
	return lab.Until(ctx, func(ctx context.Context) error {
		exit, err := s.SelfCheck(ctx, name)
		if err == nil && exit.Code != 0 {
			err = errors.New(exit.Stderr)
		}
		return err
	})
}

func (s *stack) Stop(ctx context.Context) (lab.Exit, error) {
	return s.end(ctx, s.parts["balancer"].GetContainerID(), "SIGTERM")
}
