package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"udplab/integration/lab"
)

//go:embed relay.c
var relaySource string

// nginxModule is where Debian's libnginx-mod-stream is.
const nginxModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

// mostClients is how many clients contestants are told to expect, more than
// the largest case has.
const mostClients = 20_480

// spare is how many files a program may need beside its clients' sockets.
const spare = 100

// contestant is a way for datagrams to get from clients to servers and back.
type contestant struct {
	name    string
	missing string  // why it cannot take part; empty means that it can
	sockets int     // that it opens for a client that goes on sending
	page    bool    // it is a balancer of ours, whose page listens beside it
	command command // nil: nothing is between clients and servers
}

// command makes the command that listens on an address and balances over these
// servers.
type command func(listen, page netip.AddrPort, servers []string) (*exec.Cmd, error)

// contestants finds those that are wanted, and builds into dir what there is to
// build. Each may open so many files.
func contestants(ctx context.Context, cfg *settings, dir string, files int) (list []contestant, err error) {
	for _, name := range contestantNames {
		if name == udplabPortable { // other builds stand beside ours
			for _, also := range cfg.Also {
				name, path, _ := strings.Cut(also, "=")
				list = append(list, contestant{name: name, sockets: 1, page: true, command: balancerCommand(path, "epoll")})
			}
		}
		if !cfg.wanted(name) {
			continue
		}
		c := contestant{name: name, sockets: 1}
		switch name {
		case direct:
			c.sockets = 0
		case udplab, udplabPortable:
			if cfg.Balancer == "" {
				programs, err := lab.Build(ctx, dir)
				if err != nil {
					return nil, err
				}
				cfg.Balancer = filepath.Join(string(programs), "balancer")
			}
			c.page, c.command = true, balancerCommand(cfg.Balancer, "epoll")
			if name == udplabPortable {
				c.sockets, c.command = 3, balancerCommand(cfg.Balancer, "portable")
			}
		case nginxPerDatagram, nginxPerFlow:
			c.missing, c.command = nginx(filepath.Join(dir, name), name == nginxPerDatagram, files)
		case pen:
			// Pen has had up to twice as many sockets as clients when it was
			// tried, and ends when it may open no more.
			c.sockets = 2
			c.missing, c.command = penCommand(min(files/2-spare, mostClients))
		case relayInC:
			c.missing, c.command = relay(ctx, dir)
		}
		list = append(list, c)
	}
	return list, nil
}

// balancerCommand runs a build of our balancer on one of its data paths.
// Nothing is switched off.
func balancerCommand(path, dataPath string) command {
	return func(listen, page netip.AddrPort, servers []string) (*exec.Cmd, error) {
		cmd := exec.Command(path)
		cmd.Env = []string{
			"BALANCER_LISTEN=" + listen.String(), "BALANCER_HTTP=" + page.String(), "BALANCER_BACKENDS=" + strings.Join(servers, ","),
			"BALANCER_DATAPATH=" + dataPath, fmt.Sprintf("BALANCER_MAX_SESSIONS=%d", mostClients),
		}
		return cmd, nil
	}
}

// nginx runs nginx with its files in dir, or says what is missing.
func nginx(dir string, perDatagram bool, files int) (missing string, run command) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // not every user's path has it
	}
	if _, err := os.Stat(path); err != nil {
		return "nginx is not installed", nil
	}
	if _, err := os.Stat(nginxModule); err != nil {
		return "nginx's stream module is not installed (Debian: libnginx-mod-stream)", nil
	}
	return "", func(listen, _ netip.AddrPort, servers []string) (*exec.Cmd, error) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "nginx.conf")
		return exec.Command(path, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log")),
			os.WriteFile(file, []byte(nginxConfig(listen, servers, perDatagram, files)), 0o600)
	}
}

// nginxConfig makes nginx balance UDP in turn. It runs as one process, as one
// worker would: there is nothing for a master to do. A session takes two
// connections and one file. A server that was slow to answer is never taken out
// (max_fails=0): by default a single lost reply takes it out for ten seconds.
func nginxConfig(listen netip.AddrPort, servers []string, perDatagram bool, files int) string {
	once := ""
	if perDatagram {
		once = "proxy_requests 1; proxy_responses 1;"
	}
	return fmt.Sprintf(`load_module %s;
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log error;
worker_rlimit_nofile %d;
events { worker_connections %d; }
stream {
  upstream servers { server %s max_fails=0; }
  server { listen %v udp rcvbuf=4m sndbuf=4m; proxy_pass servers; %s }
}
`, nginxModule, files, 2*files, strings.Join(servers, " max_fails=0; server "), listen, once)
}

// penCommand makes pen balance UDP in turn, in the foreground.
func penCommand(clients int) (missing string, run command) {
	path, err := exec.LookPath("pen")
	if err != nil {
		return "pen is not installed", nil
	}
	return "", func(listen, _ netip.AddrPort, servers []string) (*exec.Cmd, error) {
		room := fmt.Sprint(clients)
		return exec.Command(path, append([]string{"-f", "-U", "-r", "-c", room, "-x", room, listen.String()}, servers...)...), nil
	}
}

// relay compiles and runs the relay in C, if there is a compiler.
func relay(ctx context.Context, dir string) (missing string, run command) {
	path := filepath.Join(dir, "relay")
	gcc := exec.CommandContext(ctx, "gcc", "-O2", "-x", "c", "-o", path, "-")
	gcc.Stdin = strings.NewReader(relaySource)
	if said, err := gcc.CombinedOutput(); err != nil {
		return fmt.Sprintf("it does not compile: %v %s", err, said), nil
	}
	return "", func(listen, _ netip.AddrPort, servers []string) (*exec.Cmd, error) {
		args := []string{fmt.Sprint(listen.Port())}
		for _, s := range servers {
			args = append(args, fmt.Sprint(netip.MustParseAddrPort(s).Port()))
		}
		return exec.Command(path, args...), nil
	}
}

// limits is what the system allows.
type limits struct {
	files int // that one process may have open
	ports int // that are given out by themselves, to all sockets together
}

// refuse says which contestant cannot serve which case here, and why; empty
// means that it can.
func (l limits) refuse(c contestant, lc loadCase) string {
	files := lc.clients*max(c.sockets, 1) + spare
	ports := lc.clients*(c.sockets+1) + spare
	switch {
	case c.missing != "":
		return c.name + ": " + c.missing
	case files > l.files:
		return fmt.Sprintf("%v, %s: it takes %d open files in one process, and %d are allowed (ulimit -Hn)", lc, c.name, files, l.files)
	case ports > l.ports:
		return fmt.Sprintf("%v, %s: it takes %d ports, and there are %d (net.ipv4.ip_local_port_range)", lc, c.name, ports, l.ports)
	}
	return ""
}

// running is a contestant's process.
type running struct {
	*exec.Cmd
	addr netip.AddrPort
	url  string        // of its page
	done chan struct{} // closed when it has ended
	said bytes.Buffer
}

// start runs a contestant, all of whose threads are on one core: they inherit
// that from the thread that starts it. The kernel kills it if this process
// dies.
func start(c contestant, servers []string, core int) (r *running, err error) {
	udp, err1 := lab.FreePort("udp")
	tcp, err2 := lab.FreePort("tcp")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	listen, page := netip.MustParseAddrPort("127.0.0.1:"+udp), netip.MustParseAddrPort("127.0.0.1:"+tcp)
	r = &running{addr: listen, url: "http://" + page.String(), done: make(chan struct{})}
	if r.Cmd, err = c.command(listen, page, servers); err != nil {
		return nil, err
	}
	r.Stderr = &r.said // and stdout goes to /dev/null
	r.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startOn(core, r.Cmd); err != nil {
		return nil, err
	}
	go func() {
		defer close(r.done)
		_ = r.Wait() // how it ended is in ProcessState
	}()
	return r, nil
}

// startOn starts a command on one core.
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
	_ = syscall.Kill(-r.Process.Pid, syscall.SIGKILL) // fails only if it is gone
	<-r.done
}

// ended says whether the process has ended by itself.
func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// explain replaces an error by its cause, if that is that the process has ended
// by itself. Its files under /proc are gone a little before Wait returns.
func (r *running) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-r.done:
		return fmt.Errorf("it ended by itself with %v\n%s", r.ProcessState, &r.said)
	case <-time.After(time.Second):
		return err
	}
}
