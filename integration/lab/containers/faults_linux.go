package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"

	"udplab/integration/faults"
	"udplab/integration/lab"
)

// dockerfile makes an image of programs that are built already. The repository's
// own Dockerfile, which takes minutes, is proved by other tests.
const dockerfile = `FROM scratch
COPY balancer pingserver client /
USER 65532:65532
`

// NewFaultLab builds an image and returns a lab in containers that can be
// broken, whose balancers have these variables too. Every part has a chosen
// address in a network of the test's; names are looked up in the test itself, at
// the network's gateway, through Docker's own resolver. All is removed when the
// test ends. It skips the test as Need does, and for an ordinary user.
func NewFaultLab(t *testing.T, env map[string]string) faults.Lab {
	t.Helper()
	Need(t)
	if os.Geteuid() != 0 {
		Missing(t, "only root may answer look-ups at port 53 and look into the balancer's process")
	}
	dir, state := t.TempDir(), t.TempDir()
	_, err := lab.Build(t.Context(), dir, "-tags=netgo,osusergo") // without the C library
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600))
	err = errors.Join(err, os.Chmod(state, 0o777)) // the image's user writes there
	if err != nil {
		t.Fatal(err)
	}
	l := build(t, dir)
	subnet := Subnet(t)
	gateway := subnet.Addr().Next()
	network := newNetwork(t, fmt.Sprintf("--subnet=%v", subnet), fmt.Sprintf("--gateway=%v", gateway))
	all := map[string]string{"BALANCER_STATE_FILE": "/state/turns"}
	maps.Copy(all, env)
	return faults.Lab{
		Balancer: gateway.Next(), Places: faults.Places(gateway.Next().Next()),
		Names: faults.ServeNames(t, netip.AddrPortFrom(gateway, 53).String()), StateFile: filepath.Join(state, "turns"), Env: all,
		Launch: func(ctx context.Context, program, name string, at netip.Addr, env map[string]string) (faults.Part, error) {
			c, err := l.launch(t, service{program: program, env: env, network: network, name: name, at: at, host: func(h *container.HostConfig) {
				h.Binds = []string{state + ":/state"}
				h.DNS, h.DNSSearch = []netip.Addr{gateway}, []string{"."} // not the machine's
			}})
			if err != nil {
				return nil, err
			}
			now, err := c.State(ctx)
			if err != nil {
				return nil, err
			}
			return part{c, t, now.Pid}, nil
		},
	}
}

// part is one container, which runs once.
type part struct {
	testcontainers.Container
	t   *testing.T
	pid int
}

func (p part) PID() int { return p.pid }

// Wait removes the container.
func (p part) Wait(ctx context.Context) lab.Exit {
	exit, err := await(ctx, p)
	if err := errors.Join(err, p.Terminate(ctx)); err != nil {
		p.t.Error(err)
	}
	if exit.Code > 128 { // and the signal's number
		exit.Code = -1
	}
	return exit
}
