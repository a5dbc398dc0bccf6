package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"udplab/integration/lab"
)

//go:embed relay.c
var relaySource []byte

// nginxModule is where Debian's libnginx-mod-stream is.
const nginxModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

// contestant is a way for datagrams to get from clients to servers and back.
type contestant struct {
	name    string
	missing string // why it cannot take part; empty: it can
	// command makes the command that balances over these servers. nil: there
	// is nothing between them and the clients.
	command func(ctx context.Context, servers []netip.AddrPort) (*exec.Cmd, endpoints, error)
}

// endpoints is where a contestant listens.
type endpoints struct {
	addr netip.AddrPort
	page string // URL of udplab's page; empty for the others
}

// prepare finds the contestants that are wanted, and builds what there is to
// build, into dir.
func prepare(ctx context.Context, cfg *settings, dir string, files int) (list []contestant, err error) {
	for _, name := range cfg.contestants() {
		if !cfg.wanted(name) {
			continue
		}
		c := contestant{name: name}
		switch name {
		case udplab, udplabPortable:
			if cfg.Balancer == "" {
				if cfg.Balancer, err = buildBalancer(ctx, dir); err != nil {
					return nil, err
				}
			}
			c.command = balancerCommand(cfg.Balancer, map[string]string{udplab: "auto", udplabPortable: "portable"}[name])
		case nginxPerDatagram, nginxPerFlow:
			c.missing, c.command = nginx(dir, name, files)
		case pen:
			path, err := exec.LookPath("pen")
			if err != nil {
				c.missing = "pen is not installed"
			}
			c.command = simpleCommand(path, penArguments, files)
		case relayInC:
			path, missing, err := buildRelay(ctx, dir)
			if err != nil {
				return nil, err
			}
			c.missing, c.command = missing, simpleCommand(path, relayArguments, files)
		case direct:
		default:
			c.command = balancerCommand(cfg.alsoPath(name), "auto")
		}
		list = append(list, c)
	}
	return list, nil
}

// buildBalancer builds the workspace's balancer.
func buildBalancer(ctx context.Context, dir string) (string, error) {
	root, err := lab.Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "balancer")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "udplab/services/balancer")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return path, nil
}

// buildRelay compiles the relay in C, if there is a compiler.
func buildRelay(ctx context.Context, dir string) (path, missing string, err error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return "", "gcc is not installed", nil
	}
	source := filepath.Join(dir, "relay.c")
	if err := os.WriteFile(source, relaySource, 0o600); err != nil {
		return "", "", err
	}
	path = filepath.Join(dir, "relay")
	if said, err := exec.CommandContext(ctx, gcc, "-O2", "-o", path, source).CombinedOutput(); err != nil {
		return "", fmt.Sprintf("gcc: %v: %s", err, said), nil
	}
	return path, "", nil
}

// balancerCommand runs our balancer on one of its data paths.
func balancerCommand(path, dataPath string) func(context.Context, []netip.AddrPort) (*exec.Cmd, endpoints, error) {
	return func(ctx context.Context, servers []netip.AddrPort) (*exec.Cmd, endpoints, error) {
		listen, err := freeAddress("udp")
		if err != nil {
			return nil, endpoints{}, err
		}
		page, err := freeAddress("tcp")
		if err != nil {
			return nil, endpoints{}, err
		}
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
			return strings.HasPrefix(kv, "BALANCER_") || strings.HasPrefix(kv, "LOG_") || strings.HasPrefix(kv, "GOMAXPROCS=")
		})
		cmd.Env = append(cmd.Env, balancerEnvironment(listen, page, servers, dataPath)...)
		return cmd, endpoints{listen, "http://" + page.String()}, nil
	}
}

// nginx runs nginx in one of two ways, or says what is missing.
func nginx(dir, name string, files int) (missing string, command func(context.Context, []netip.AddrPort) (*exec.Cmd, endpoints, error)) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx") // not every user's path has it
	}
	if err != nil {
		return "nginx is not installed", nil
	}
	if _, err := os.Stat(nginxModule); err != nil {
		return "nginx's stream module is not installed (Debian: libnginx-mod-stream)", nil
	}
	return "", func(ctx context.Context, servers []netip.AddrPort) (*exec.Cmd, endpoints, error) {
		listen, err := freeAddress("udp")
		if err != nil {
			return nil, endpoints{}, err
		}
		prefix, err := os.MkdirTemp(dir, "nginx")
		if err != nil {
			return nil, endpoints{}, err
		}
		file := filepath.Join(prefix, "nginx.conf")
		text := nginxConfig(prefix, nginxModule, listen, servers, name == nginxPerDatagram, files)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, endpoints{}, err
		}
		return exec.CommandContext(ctx, path, "-p", prefix, "-c", file, "-e", filepath.Join(prefix, "error.log")), endpoints{addr: listen}, nil
	}
}

// simpleCommand runs a program whose arguments say everything.
func simpleCommand(path string, arguments func(netip.AddrPort, []netip.AddrPort, int) []string, files int) func(context.Context, []netip.AddrPort) (*exec.Cmd, endpoints, error) {
	return func(ctx context.Context, servers []netip.AddrPort) (*exec.Cmd, endpoints, error) {
		listen, err := freeAddress("udp")
		if err != nil {
			return nil, endpoints{}, err
		}
		return exec.CommandContext(ctx, path, arguments(listen, servers, files)...), endpoints{addr: listen}, nil
	}
}

// freeAddress is a loopback address that nobody listens on at the moment.
func freeAddress(network string) (netip.AddrPort, error) {
	if network == "tcp" {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return netip.AddrPort{}, err
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).AddrPort(), nil
	}
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// running is a contestant's process.
type running struct {
	endpoints
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
	stderr string        // file with what it said
}

// start runs a contestant on a core of its own. The kernel kills it if this
// process dies.
func start(ctx context.Context, c contestant, servers []netip.AddrPort, core int, dir string) (*running, error) {
	cmd, where, err := c.command(ctx, servers)
	if err != nil {
		return nil, err
	}
	stderr, err := os.CreateTemp(dir, "stderr")
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stderr = stderr // and stdout goes to /dev/null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startOn(core, cmd); err != nil {
		return nil, err
	}
	r := &running{endpoints: where, cmd: cmd, done: make(chan struct{}), stderr: stderr.Name()}
	go func() {
		defer close(r.done)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
	}()
	return r, nil
}

// startOn starts a process all of whose threads will run on one core: they
// inherit that from the thread that starts it.
func startOn(core int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := affinity()
	if err != nil {
		return err
	}
	if err := setAffinity(0, coreSet(core)); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), setAffinity(0, before))
}

// kill ends the process and whatever it has started, at once.
func (r *running) kill() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // fails only if it is gone
	<-r.done
}

// ended says that the process has ended by itself, and what it said; nil if it
// runs.
func (r *running) ended() error {
	select {
	case <-r.done:
		said, _ := os.ReadFile(r.stderr)
		return fmt.Errorf("it ended by itself with %v\n%s", r.cmd.ProcessState, said)
	default:
		return nil
	}
}

// blame replaces an error by what is behind it, if that is that the process
// has ended by itself.
func (r *running) blame(err error) error {
	if err != nil {
		select { // its files under /proc are gone before we are told
		case <-r.done:
		case <-time.After(time.Second):
		}
	}
	return cmp.Or(r.ended(), err)
}
