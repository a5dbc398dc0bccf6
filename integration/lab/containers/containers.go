package containers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"

	"udplab/integration/lab"
	"udplab/integration/scenario"
)

// boot starts labs from one image.
type boot struct {
	docker *client.Client
	image  string
	seat   *testcontainers.DockerContainer // where a program runs by itself
}

// New builds the image, which is removed when the test ends, and returns a way
// to start labs from it. It skips the test as Need does.
func New(t *testing.T) scenario.Boot {
	t.Helper()
	docker := Need(t)
	b := boot{docker: docker, image: build(t, docker)}
	b.seat = b.start(t, service{program: "pingserver"})
	return b
}

// build builds the image from the repository's Dockerfile.
func build(t *testing.T, docker *client.Client) string {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	base := GoImage(t)
	var said bytes.Buffer
	image, err := provider.BuildImage(t.Context(), &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		Context:        root,
		Repo:           "udplab-test",
		Tag:            fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()), // of this run alone
		BuildArgs:      map[string]*string{"GO_IMAGE": &base},
		BuildLogWriter: &said,
	}})
	if err != nil {
		t.Fatalf("building the image: %v\n%s", err, &said)
	}
	t.Cleanup(func() {
		if _, err := docker.ImageRemove(context.Background(), image, client.ImageRemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	return image
}

// service is one container.
type service struct {
	program string
	env     map[string]string
	network *testcontainers.DockerNetwork // nil: Docker's own
	name    string                        // in that network
	ports   []string                      // published on 127.0.0.1
}

// options are what every container of the service has: no more rights than the
// compose file gives, and whatever more is said of its host's side.
func (s service) options(more ...func(*container.HostConfig)) []testcontainers.ContainerCustomizer {
	env := map[string]string{"LOG_FORMAT": "json"}
	maps.Copy(env, s.env)
	return []testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(env),
		testcontainers.WithCmd("/" + s.program),
		testcontainers.WithExposedPorts(s.ports...),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			host.ReadonlyRootfs = true
			host.CapDrop = []string{"ALL"}
			host.SecurityOpt = []string{"no-new-privileges"}
			host.PortBindings = network.PortMap{}
			for _, port := range s.ports {
				host.PortBindings[network.MustParsePort(port)] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1")}}
			}
			for _, change := range more {
				change(host)
			}
		}),
	}
}

// start starts a container, and removes it when the test ends.
func (b boot) start(t *testing.T, s service) *testcontainers.DockerContainer {
	t.Helper()
	// By its self-check: a UDP port cannot be looked at.
	options := append(s.options(), testcontainers.WithWaitStrategyAndDeadline(lab.Patience,
		wait.ForExec([]string{"/" + s.program, "healthcheck"}).WithPollInterval(50*time.Millisecond)))
	if s.network != nil {
		options = append(options, tcnetwork.WithNetwork([]string{s.name}, s.network))
	}
	c, err := testcontainers.Run(t.Context(), b.image, options...)
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		t.Fatalf("starting %s: %v", s.program, err)
	}
	return c
}

// Run runs a program beside one that does nothing, which is quicker than a
// container of its own.
func (b boot) Run(t *testing.T, program string, env map[string]string, args ...string) lab.Exit {
	t.Helper()
	exit, err := run(t.Context(), b.seat, env, append([]string{"/" + program}, args...)...)
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

// The ports inside the containers.
const (
	listenPort = "8888/udp"
	pagePort   = "8080/tcp"
)

func (b boot) Start(t *testing.T, o scenario.Options) scenario.Stack {
	t.Helper()
	own, err := tcnetwork.New(t.Context())
	testcontainers.CleanupNetwork(t, own)
	if err != nil {
		t.Fatal(err)
	}
	s := &containerStack{docker: b.docker, servers: map[string]*testcontainers.DockerContainer{}}
	var backends []string
	for i := range 3 {
		name := fmt.Sprintf("server%d", i+1)
		env := map[string]string{"PINGSERVER_NAME": name}
		maps.Copy(env, o.Server)
		s.servers[name] = b.start(t, service{program: "pingserver", env: env, network: own, name: name})
		backends = append(backends, name+"="+name+":2526")
	}
	env := map[string]string{"BALANCER_BACKENDS": strings.Join(backends, ",")}
	maps.Copy(env, o.Balancer)
	s.balancer = b.start(t, service{
		program: "balancer", env: env, network: own, name: "balancer", ports: []string{listenPort, pagePort},
	})
	// Clients sit in a container too, so that their pings cross the network
	// like those of the compose file's client.
	s.clients = b.start(t, service{program: "pingserver", network: own, name: "clients"})

	listen, err := s.balancer.MappedPort(t.Context(), listenPort)
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.balancer.MappedPort(t.Context(), pagePort)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), listen.Num())
	s.url = fmt.Sprintf("http://127.0.0.1:%d", page.Num())
	return s
}

// containerStack is a lab in containers.
type containerStack struct {
	docker   *client.Client
	servers  map[string]*testcontainers.DockerContainer
	balancer *testcontainers.DockerContainer
	clients  *testcontainers.DockerContainer
	addr     netip.AddrPort
	url      string
}

func (s *containerStack) Addr() netip.AddrPort { return s.addr }
func (s *containerStack) URL() string          { return s.url }

func (s *containerStack) Client(ctx context.Context, args ...string) (lab.Exit, error) {
	target := map[string]string{"CLIENT_TARGET": "balancer:8888"}
	return run(ctx, s.clients, target, append([]string{"/client"}, args...)...)
}

func (s *containerStack) SelfCheck(ctx context.Context, service string) (lab.Exit, error) {
	if service == "balancer" {
		return run(ctx, s.balancer, nil, "/balancer", "healthcheck")
	}
	return run(ctx, s.servers[service], nil, "/pingserver", "healthcheck")
}

// KillServer leaves the container, so that it can be started again; its name
// is gone from the network while it is dead, and its address is anybody's.
func (s *containerStack) KillServer(ctx context.Context, name string) error {
	if _, err := s.docker.ContainerKill(ctx, s.servers[name].GetContainerID(), client.ContainerKillOptions{}); err != nil {
		return err
	}
	return wait.ForExit().WithPollInterval(20*time.Millisecond).WaitUntilReady(ctx, s.servers[name])
}

func (s *containerStack) StartServer(ctx context.Context, name string) error {
	return s.servers[name].Start(ctx)
}

func (s *containerStack) Stop(ctx context.Context) (lab.Exit, error) {
	limit := time.Duration(lab.Patience)
	if err := s.balancer.Stop(ctx, &limit); err != nil {
		return lab.Exit{}, err
	}
	state, err := s.balancer.State(ctx)
	if err != nil {
		return lab.Exit{}, err
	}
	logs, err := s.docker.ContainerLogs(ctx, s.balancer.GetContainerID(), client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return lab.Exit{}, err
	}
	defer logs.Close()
	return split(state.ExitCode, logs)
}
