package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
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
)

// faultLab is a lab in containers that can be broken. Everybody has an address
// of his own choice in a network of the test's; names are looked up in the test
// itself, at the network's gateway, through Docker's own resolver.
type faultLab struct {
	*testing.T
	boot
	subnet  netip.Addr // .0: the addresses are this one and a number
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
// and where nobody but root may answer on port 53.
func NewFaultLab(t *testing.T) faults.Lab {
	t.Helper()
	docker := Need(t)
	if os.Geteuid() != 0 {
		skip(t, "only root may answer look-ups at port 53 and look into the balancer's process")
	}
	l := &faultLab{T: t, boot: boot{docker: docker}, state: stateDir(t), env: faults.Env(), parts: map[string]*part{}}
	l.image = build(t, docker)
	l.openNetwork()
	maps.Copy(l.env, map[string]string{
		"BALANCER_HTTP_HOSTS": l.number(balancerNumber).String() + ",localhost",
		"BALANCER_STATE_FILE": "/state/turns",
		"LOG_FORMAT":          "json",
	})
	return l
}

// stateDir is a directory that the image's user may write to.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openNetwork makes a network of the test's own, and answers look-ups there.
func (l *faultLab) openNetwork() {
	l.Helper()
	// Of a range for tests of networks, which no machine is in: RFC 2544.
	l.subnet = netip.AddrFrom4([4]byte{198, 19, byte(rand.IntN(256)), 0})
	prefix := netip.PrefixFrom(l.subnet, 24)
	var err error
	l.network, err = tcnetwork.New(l.Context(), tcnetwork.WithIPAM(&network.IPAM{
		Driver: "default",
		Config: []network.IPAMConfig{{Subnet: prefix, Gateway: l.number(gatewayNumber)}},
	}))
	testcontainers.CleanupNetwork(l.T, l.network)
	if err != nil {
		l.Fatal(err)
	}
	if l.names, err = faults.ServeNames(net.JoinHostPort(l.number(gatewayNumber).String(), "53")); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { l.names.Close() })
}

// number is an address of the network.
func (l *faultLab) number(n byte) netip.Addr {
	bytes := l.subnet.As4()
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
	s := service{program: "pingserver", env: map[string]string{"PINGSERVER_NAME": name}}
	var host []func(*container.HostConfig)
	if name == "balancer" {
		l.mu.Lock()
		s = service{program: "balancer", env: maps.Clone(l.env)}
		l.mu.Unlock()
		host = append(host, func(h *container.HostConfig) {
			h.Binds = []string{l.state + ":/state"}
			h.DNS = []netip.Addr{l.number(gatewayNumber)}
			h.DNSSearch = []string{"."} // not the machine's
		})
	}
	options := append(s.options(host...),
		testcontainers.WithNoStart(),
		tcnetwork.WithNetwork([]string{name}, l.network),
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
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		err := askServer(ctx, at)
		if name == "balancer" {
			err = askBalancer(ctx, l.URL())
		}
		if err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", name, err)
		}
	}
}

func askServer(ctx context.Context, at netip.Addr) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(at.String(), faults.Port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("healthcheck")); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // fails on closed connections only
	_, err = conn.Read(make([]byte, 100))
	return err
}

func askBalancer(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return err
	}
	direct := http.Transport{DisableKeepAlives: true}
	answer, err := direct.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// signal sends a part a signal that ends it, and wants it to end with a code.
func (l *faultLab) signal(ctx context.Context, name, signal string, code int64) error {
	p := l.find(name)
	wait := l.docker.ContainerWait(ctx, p.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	if _, err := l.docker.ContainerKill(ctx, p.id, client.ContainerKillOptions{Signal: signal}); err != nil {
		return err
	}
	select {
	case ended := <-wait.Result:
		if ended.StatusCode != code {
			return fmt.Errorf("%s ended at %s with %d, want %d", name, signal, ended.StatusCode, code)
		}
		return nil
	case err := <-wait.Error:
		return err
	}
}

// What a program ends with at a signal that it does not handle is 128 and the
// signal's number, at SIGQUIT what Go's runtime says.
const (
	killedCode = 128 + 9
	quitCode   = 2
)

func (l *faultLab) Kill(ctx context.Context, name string) error {
	return l.signal(ctx, name, "SIGKILL", killedCode)
}

func (l *faultLab) Stop(ctx context.Context, name string) error {
	return l.signal(ctx, name, "SIGTERM", 0)
}

func (l *faultLab) Freeze(ctx context.Context, name string) error {
	for {
		_, err := l.docker.ContainerPause(ctx, l.find(name).id, client.ContainerPauseOptions{})
		// The kernel freezes no container some thread of which is just being
		// started or ended; on a busy machine Docker gives up too soon.
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "unable to freeze") {
			return err
		}
	}
}

func (l *faultLab) Thaw(ctx context.Context, name string) error {
	_, err := l.docker.ContainerUnpause(ctx, l.find(name).id, client.ContainerUnpauseOptions{})
	return err
}

func (l *faultLab) Dump(ctx context.Context) (string, error) {
	if err := l.signal(ctx, "balancer", "SIGQUIT", quitCode); err != nil {
		return "", err
	}
	said, err := l.stderr(ctx, "balancer")
	// The container has the words of all its balancers; the last is of interest.
	if i := strings.LastIndex(said, "SIGQUIT"); i >= 0 {
		return said[i:], err
	}
	return "", fmt.Errorf("the balancer said at SIGQUIT (%w)\n%s", err, said)
}

// stderr is what a part has complained about so far.
func (l *faultLab) stderr(ctx context.Context, name string) (string, error) {
	logs, err := l.docker.ContainerLogs(ctx, l.find(name).id, client.ContainerLogsOptions{ShowStderr: true})
	if err != nil {
		return "", err
	}
	defer logs.Close()
	exit, err := split(0, logs)
	return exit.Stderr, err
}

func (l *faultLab) PID(ctx context.Context) (int, error) {
	inspected, err := l.docker.ContainerInspect(ctx, l.find("balancer").id, client.ContainerInspectOptions{})
	if err != nil {
		return 0, err
	}
	return inspected.Container.State.Pid, nil
}

// tellIfFailed shows what the balancer said.
func (l *faultLab) tellIfFailed() {
	if !l.Failed() || l.find("balancer") == nil {
		return
	}
	logs, err := l.docker.ContainerLogs(context.Background(), l.find("balancer").id,
		client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		l.Log(err)
		return
	}
	defer logs.Close()
	exit, _ := split(0, logs)
	l.Logf("the balancer said at last\n%s%s", exit.Stdout, exit.Stderr)
}
