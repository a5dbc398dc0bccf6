package containers

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"

	"udplab/integration/faults"
	"udplab/integration/lab"
)

// faultLab is a lab in containers that can be broken. Everybody has an address
// of his own choice in a network of the test's; names are looked up in the test
// itself, at the network's gateway, through Docker's own resolver.
type faultLab struct {
	*testing.T
	launcher
	subnet  netip.Prefix
	network *testcontainers.DockerNetwork
	names   *faults.Names
	state   string // directory

	mu    sync.Mutex
	env   map[string]string // of the balancer
	parts map[string]*part
}

// part is one container, running or not.
type part struct {
	id string
	at netip.Addr
}

// Addresses in the network, by their last number. Docker's own choices are
// outside of our range.
const (
	gatewayNumber  = 1
	balancerNumber = 10
	firstPlace     = 11
)

// NewFaultLab builds the image and returns a lab in containers that can be
// broken. All is removed when the test ends. It skips the test as Need does,
// and where only root may answer at port 53 and look into other processes.
func NewFaultLab(t *testing.T) faults.Lab {
	t.Helper()
	docker := Need(t)
	if os.Geteuid() != 0 {
		Missing(t, "only root may answer look-ups at port 53 and look into the balancer's process")
	}
	l := &faultLab{T: t, launcher: newLauncher(t, docker), state: t.TempDir(), env: faults.Env(), parts: map[string]*part{}}
	if err := os.Chmod(l.state, 0o777); err != nil { // the image's user writes there
		t.Fatal(err)
	}
	l.subnet = Subnet(t, l.docker)
	var err error
	l.network, err = tcnetwork.New(t.Context(), tcnetwork.WithIPAM(&network.IPAM{
		Driver: "default",
		Config: []network.IPAMConfig{{Subnet: l.subnet, Gateway: l.number(gatewayNumber)}},
	}))
	testcontainers.CleanupNetwork(t, l.network)
	if err != nil {
		t.Fatal(err)
	}
	if l.names, err = faults.ServeNames(net.JoinHostPort(l.number(gatewayNumber).String(), "53")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.names.Close() })
	maps.Copy(l.env, map[string]string{
		"BALANCER_HTTP_HOSTS": l.number(balancerNumber).String() + ",localhost",
		"BALANCER_STATE_FILE": "/state/turns",
	})
	return l
}

// number is an address of the network.
func (l *faultLab) number(n byte) netip.Addr {
	bytes := l.subnet.Addr().As4()
	bytes[3] = n
	return netip.AddrFrom4(bytes)
}

func (l *faultLab) Addr() netip.AddrPort { return netip.AddrPortFrom(l.number(balancerNumber), 8888) }
func (l *faultLab) URL() string          { return fmt.Sprintf("http://%v:8080", l.number(balancerNumber)) }
func (l *faultLab) Names() *faults.Names { return l.names }
func (l *faultLab) StateFile() string    { return filepath.Join(l.state, "turns") }

func (l *faultLab) Places() (places []netip.Addr) {
	for n := range byte(8) {
		places = append(places, l.number(firstPlace+n))
	}
	return places
}

func (l *faultLab) Configure(env map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.env, env)
}

func (l *faultLab) find(name string) *part {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parts[name]
}

// Start starts a part, in a container that is made the first time, and waits
// until it answers.
func (l *faultLab) Start(ctx context.Context, name string, at netip.Addr) error {
	if name == "balancer" {
		at = l.number(balancerNumber)
	}
	p := l.find(name)
	if p == nil {
		id, err := l.create(ctx, name, at)
		if err != nil {
			return err
		}
		p = &part{id: id, at: at}
		l.mu.Lock()
		l.parts[name] = p
		l.mu.Unlock()
	}
	if err := l.moveTo(ctx, p, at); err != nil {
		return err
	}
	if _, err := l.docker.ContainerStart(ctx, p.id, client.ContainerStartOptions{}); err != nil {
		return err
	}
	return l.await(ctx, name, at)
}

// create makes a container for a part that has never run.
func (l *faultLab) create(ctx context.Context, name string, at netip.Addr) (id string, err error) {
	s := service{program: "pingserver", env: map[string]string{"PINGSERVER_NAME": name}, network: l.network, name: name}
	var host []func(*container.HostConfig)
	if name == "balancer" {
		l.mu.Lock()
		s.program, s.env = "balancer", maps.Clone(l.env)
		l.mu.Unlock()
		host = append(host, func(h *container.HostConfig) {
			h.Binds = []string{l.state + ":/state"}
			h.DNS = []netip.Addr{l.number(gatewayNumber)}
			h.DNSSearch = []string{"."} // not the machine's
		})
	}
	options := append(s.options(host...),
		testcontainers.WithNoStart(),
		testcontainers.WithEndpointSettingsModifier(func(settings map[string]*network.EndpointSettings) {
			settings[l.network.Name].IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: at}
		}))
	c, err := testcontainers.Run(ctx, l.image, options...)
	testcontainers.CleanupContainer(l.T, c, testcontainers.StopTimeout(0))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if name == "balancer" {
		l.Cleanup(l.tellIfFailed) // before it is removed
	}
	return c.GetContainerID(), nil
}

// moveTo gives a part that does not run another address.
func (l *faultLab) moveTo(ctx context.Context, p *part, at netip.Addr) error {
	if p.at == at {
		return nil
	}
	if _, err := l.docker.NetworkDisconnect(ctx, l.network.ID, client.NetworkDisconnectOptions{Container: p.id}); err != nil {
		return err
	}
	_, err := l.docker.NetworkConnect(ctx, l.network.ID, client.NetworkConnectOptions{
		Container:      p.id,
		EndpointConfig: &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: at}},
	})
	p.at = at
	return err
}

// await waits until a part answers where it is: it is asked from outside, which
// is quicker than a self-check inside.
func (l *faultLab) await(ctx context.Context, name string, at netip.Addr) error {
	err := lab.Until(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askAgain)
		defer cancel()
		if name == "balancer" {
			_, err := lab.Get(ctx, l.URL()+"/healthz")
			return err
		}
		_, err := lab.Ask(ctx, netip.MustParseAddrPort(net.JoinHostPort(at.String(), faults.Port)), "healthcheck")
		return err
	})
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", name, err)
	}
	return nil
}

// askAgain is when await gives up on one question: what is sent before a part
// listens may be lost without a word.
const askAgain = time.Second

// endWith sends a part a signal that ends it, and wants it to end with a code.
func (l *faultLab) endWith(ctx context.Context, name, signal string, code int) (lab.Exit, error) {
	exit, err := l.end(ctx, l.find(name).id, signal)
	if err == nil && exit.Code != code {
		err = fmt.Errorf("%s ended at %s with %d, want %d", name, signal, exit.Code, code)
	}
	return exit, err
}

// What a program ends with at a signal that it does not handle is 128 and the
// signal's number, at SIGQUIT what Go's runtime says.
const (
	killedCode = 128 + 9
	quitCode   = 2
)

func (l *faultLab) Kill(ctx context.Context, name string) error {
	_, err := l.endWith(ctx, name, "SIGKILL", killedCode)
	return err
}

func (l *faultLab) Stop(ctx context.Context, name string) error {
	_, err := l.endWith(ctx, name, "SIGTERM", 0)
	return err
}

func (l *faultLab) Freeze(ctx context.Context, name string) error {
	var refused error
	err := lab.Until(ctx, func(ctx context.Context) error {
		_, refused = l.docker.ContainerPause(ctx, l.find(name).id, client.ContainerPauseOptions{})
		// The kernel freezes no container some thread of which is just being
		// started or ended; on a busy machine Docker gives up too soon.
		if refused != nil && strings.Contains(refused.Error(), "unable to freeze") {
			return refused
		}
		return nil
	})
	if err != nil {
		return err
	}
	return refused
}

func (l *faultLab) Thaw(ctx context.Context, name string) error {
	_, err := l.docker.ContainerUnpause(ctx, l.find(name).id, client.ContainerUnpauseOptions{})
	return err
}

func (l *faultLab) Dump(ctx context.Context) (string, error) {
	exit, err := l.endWith(ctx, "balancer", "SIGQUIT", quitCode)
	if err != nil {
		return "", err
	}
	// The container has the output of all its balancers; the last is of interest.
	if i := strings.LastIndex(exit.Stderr, "SIGQUIT"); i >= 0 {
		return exit.Stderr[i:], nil
	}
	return "", fmt.Errorf("the balancer said at SIGQUIT\n%s", exit.Stderr)
}

func (l *faultLab) PID(ctx context.Context) (int, error) {
	inspected, err := l.docker.ContainerInspect(ctx, l.find("balancer").id, client.ContainerInspectOptions{})
	if err != nil {
		return 0, err
	}
	return inspected.Container.State.Pid, nil
}

// tellIfFailed shows the end of what the balancer said.
func (l *faultLab) tellIfFailed() {
	if !l.Failed() || l.find("balancer") == nil {
		return
	}
	exit, err := l.output(context.Background(), l.find("balancer").id, 0)
	l.Logf("the balancer said at last (%v)\n%s%s", err, exit.Stdout[max(0, len(exit.Stdout)-4000):], exit.Stderr)
}
