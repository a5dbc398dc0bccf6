package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed relay.c
var relaySource string

const (
	// mostClients is how many clients contestants are told to expect, more than
	// the largest case has.
	mostClients = 20_480
	// spare is how many files a program may need beside its clients' sockets.
	spare = 100
)

// contestant is a way for datagrams to get from clients to servers and back.
type contestant struct {
	name    string
	ours    bool // its failure fails the run; that others cannot serve a case is a result
	sockets int  // that it opens for a client that goes on sending
	// command makes the command that does a job. Its error says why the
	// contestant cannot take part.
	command func(*job) (*exec.Cmd, error)
}

// The contestants that others are compared with.
const (
	direct = "direct" // nothing is between clients and servers
	udplab = "udplab"
)

// contestants are all that there are, in their order. Pen has had up to twice as
// many sockets as clients when it was tried.
var contestants = []contestant{
	{direct, true, 0, func(*job) (*exec.Cmd, error) { return nil, nil }},
	{udplab, true, 1, balancer("epoll", "")},
	{"udplab portable", true, 3, balancer("portable", "")},
	{"nginx per datagram", false, 1, nginx("proxy_requests 1; proxy_responses 1;")},
	{"nginx per flow", false, 1, nginx("")},
	{"pen", false, 2, pen},
	{"relay in C", false, 1, relay},
}

// balancer runs ours, or another build of it, on one of its data paths. Nothing
// is switched off.
func balancer(dataPath, build string) func(*job) (*exec.Cmd, error) {
	return func(j *job) (*exec.Cmd, error) {
		cmd := exec.Command(cmp.Or(build, filepath.Join(j.dir, "balancer")))
		cmd.Env = []string{
			"BALANCER_LISTEN=" + j.listen.String(), "BALANCER_HTTP=" + j.page, "BALANCER_BACKENDS=" + strings.Join(j.servers, ","),
			"BALANCER_DATAPATH=" + dataPath, fmt.Sprintf("BALANCER_MAX_SESSIONS=%d", mostClients),
		}
		return cmd, nil
	}
}

// Where Debian has nginx, which is not on every user's path, and its module.
const (
	nginxPath   = "/usr/sbin/nginx"
	nginxModule = "/usr/lib/nginx/modules/ngx_stream_module.so"
)

// nginx balances UDP in turn, with further directives. It runs as one process,
// as one worker would: there is nothing for a master to do. A session takes two
// connections and one file. A server that was slow to answer is never taken out
// (max_fails=0): by default a single lost reply takes it out for ten seconds.
func nginx(directives string) func(*job) (*exec.Cmd, error) {
	return func(j *job) (*exec.Cmd, error) {
		for _, needed := range []string{nginxPath, nginxModule} {
			if _, err := os.Stat(needed); err != nil {
				return nil, err
			}
		}
		config := fmt.Sprintf(`load_module %s;
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log error;
worker_rlimit_nofile %d;
events { worker_connections %d; }
stream {
  upstream servers { server %s max_fails=0; }
  server { listen %v udp rcvbuf=4m sndbuf=4m; proxy_pass servers; %s }
}
`, nginxModule, j.limits.files, 2*j.limits.files, strings.Join(j.servers, " max_fails=0; server "), j.listen, directives)
		file := filepath.Join(j.dir, "nginx.conf")
		return exec.Command(nginxPath, "-p", j.dir, "-c", file, "-e", filepath.Join(j.dir, "error.log")), os.WriteFile(file, []byte(config), 0o600)
	}
}

// pen balances UDP in turn, in the foreground. It ends when it may open no more
// files.
func pen(j *job) (*exec.Cmd, error) {
	path, err := exec.LookPath("pen")
	room := fmt.Sprint(min(j.limits.files/2-spare, mostClients))
	return exec.Command(path, append([]string{"-f", "-U", "-r", "-c", room, "-x", room, j.listen.String()}, j.servers...)...), err
}

// relay compiles the relay in C, if there is a compiler.
func relay(j *job) (*exec.Cmd, error) {
	path := filepath.Join(j.dir, "relay")
	if _, err := os.Stat(path); err != nil {
		gcc := exec.Command("gcc", "-O2", "-x", "c", "-o", path, "-")
		gcc.Stdin = strings.NewReader(relaySource)
		if said, err := gcc.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("it does not compile: %w %s", err, said)
		}
	}
	args := []string{fmt.Sprint(j.listen.Port())}
	for _, s := range j.servers {
		args = append(args, fmt.Sprint(netip.MustParseAddrPort(s).Port()))
	}
	return exec.Command(path, args...), nil
}
