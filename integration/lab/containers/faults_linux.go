package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"udplab/integration/faults"
	"udplab/integration/lab"
)

// faultLab is a lab in containers that can be broken. Every part has a chosen
// address in a network of the test's; names are looked up in the test itself,
// at the network's gateway, through Docker's own resolver.
type faultLab struct {
	*testing.T
	launcher
	site    faults.Site
	subnet  netip.Prefix
	network string
	state   string            // directory
	env     map[string]string // of the balancer

	mu    sync.Mutex
	parts map[string]*part
}

// part is one container, running or not.
type part struct {
	id string
	at netip.Addr
}

// Addresses in the network, by their last number.
const (
	gatewayNumber  = 1
	balancerNumber = 10
	firstPlace     = 11
)

// dockerfile makes an image of programs that are built already. The repository's
// own Dockerfile, which takes minutes, is proved by other tests.
const dockerfile = `FROM scratch
COPY balancer pingserver client /
USER 65532:65532
ENV BALANCER_HTTP=:8080
`

// NewFaultLab builds an image and returns a lab in containers that can be
// broken, whose balancers have these variables too. All is removed when the test
// ends. It skips the test as Need does, and for an ordinary user.
func NewFaultLab(t *testing.T, env map[string]string) faults.Lab {
	t.Helper()
	Need(t)
	if os.Geteuid() != 0 {
		Missing(t, "only root may answer look-ups at port 53 and look into the balancer's process")
	}
	dir, state := t.TempDir(), t.TempDir()
	_, err := lab.Build(t.Context(), dir, "-tags=netgo,osusergo")                                                             // without the C library
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600), os.Chmod(state, 0o777)) // the image's user writes there
	if err != nil {
		t.Fatal(err)
	}
	l := &faultLab{T: t, launcher: build(t, dir), subnet: Subnet(t), state: state, parts: map[string]*part{}}
	l.network = newNetwork(t, fmt.Sprintf("--subnet=%v", l.subnet), fmt.Sprintf("--gateway=%v", l.number(gatewayNumber)))
	names, err := faults.ServeNames(net.JoinHostPort(l.number(gatewayNumber).String(), "53"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	at := l.number(balancerNumber)
	l.site = faults.Site{
		Addr: netip.AddrPortFrom(at, 8888), URL: fmt.Sprintf("http://%v:8080", at),
		StateFile: filepath.Join(state, "turns"), Places: faults.Places(l.number(firstPlace)), Names: names,
	}
	l.env = faults.Env()
	maps.Copy(l.env, map[string]string{"BALANCER_HTTP_HOSTS": at.String() + ",localhost", "BALANCER_STATE_FILE": "/state/turns"})
	maps.Copy(l.env, env)
	return l
}

// number is an address of the network.
func (l *faultLab) number(n byte) netip.Addr {
	bytes := l.subnet.Addr().As4()
	bytes[3] = n
	return netip.AddrFrom4(bytes)
}

func (l *faultLab) Site() faults.Site { return l.site }

func (l *faultLab) find(name string) *part {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parts[name]
}

// Start starts a part, in a container that is made the first time, and waits
// until it answers. It is asked from outside, which is quicker than a self-check
// inside.
func (l *faultLab) Start(ctx context.Context, name string, at netip.Addr) error {
	answers := func(ctx context.Context) error {
		_, err := lab.Ask(ctx, netip.MustParseAddrPort(at.String()+":"+faults.Port), "healthcheck")
		return err
	}
	if name == "balancer" {
		at, answers = l.site.Addr.Addr(), func(ctx context.Context) error {
			_, err := lab.Get(ctx, l.site.URL+"/healthz")
			return err
		}
	}
	p := l.find(name)
	var err error
	if p == nil {
		p, err = l.make(name, at)
	} else if p.at != at {
		_, err1 := Docker(ctx, "network", "disconnect", l.network, p.id)
		_, err2 := Docker(ctx, "network", "connect", "--ip="+at.String(), l.network, p.id)
		p.at, err = at, errors.Join(err1, err2)
	}
	if err != nil {
		return err
	}
	if _, err := Docker(ctx, "start", p.id); err != nil {
		return err
	}
	err = lab.Until(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second) // what is sent before a part listens may be lost
		defer cancel()
		return answers(ctx)
	})
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", name, err)
	}
	return nil
}

// make makes the container of a part that has never run.
func (l *faultLab) make(name string, at netip.Addr) (*part, error) {
	s := service{program: "pingserver", env: map[string]string{"PINGSERVER_NAME": name}, network: l.network, name: name, at: at}
	if name == "balancer" {
		s.program, s.env = name, l.env
		s.host = func(h *container.HostConfig) {
			h.Binds = []string{l.state + ":/state"}
			h.DNS = []netip.Addr{l.number(gatewayNumber)}
			h.DNSSearch = []string{"."} // not the machine's
		}
	}
	id, err := l.create(l.T, s)
	if err != nil {
		return nil, err
	}
	if name == "balancer" {
		l.Cleanup(l.tellIfFailed) // before it is removed
	}
	p := &part{id: id, at: at}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts[name] = p
	return p, nil
}

// exitCodes is what a container ends with at a signal: 128 and its number if
// the program does not handle it, or what Go's runtime says.
var exitCodes = map[syscall.Signal]int{syscall.SIGKILL: 128 + 9, syscall.SIGTERM: 0, syscall.SIGQUIT: 2}

func (l *faultLab) End(ctx context.Context, name string, signal syscall.Signal) (stderr string, err error) {
	exit, err := end(ctx, l.find(name).id, fmt.Sprint(int(signal)))
	if err == nil && exit.Code != exitCodes[signal] {
		err = fmt.Errorf("%s ended at %v with %d, want %d", name, signal, exit.Code, exitCodes[signal])
	}
	// The container has the output of all its runs; the last is of interest.
	if i := strings.LastIndex(exit.Stderr, "SIGQUIT"); i >= 0 {
		return exit.Stderr[i:], err
	}
	return exit.Stderr, err
}

// Freeze does not use docker pause, which the kernel refuses while some thread
// is just being started or ended.
func (l *faultLab) Freeze(ctx context.Context, name string, frozen bool) error {
	pid, err := l.PID(ctx, name)
	if err != nil {
		return err
	}
	return faults.Freeze(pid, frozen)
}

func (l *faultLab) PID(ctx context.Context, name string) (int, error) {
	pid, err := Docker(ctx, "inspect", "--format={{.State.Pid}}", l.find(name).id)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(pid)
}

// tellIfFailed shows what the balancer said.
func (l *faultLab) tellIfFailed() {
	if !l.Failed() || l.find("balancer") == nil {
		return
	}
	exit, err := docker(context.Background(), "logs", l.find("balancer").id)
	l.Logf("the balancer said at last (%v)\n%s%s", err, exit.Stdout[max(0, len(exit.Stdout)-4000):], exit.Stderr)
}
