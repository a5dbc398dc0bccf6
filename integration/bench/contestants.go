package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The contestants, as the flags and the tables name them.
const (
	direct           = "direct"
	udplab           = "udplab"
	udplabPortable   = "udplab portable"
	nginxPerDatagram = "nginx per datagram"
	nginxPerFlow     = "nginx per flow"
	pen              = "pen"
	relayInC         = "relay in C"
)

// contestantNames is the order in which they take their turns.
var contestantNames = []string{direct, udplab, udplabPortable, nginxPerDatagram, nginxPerFlow, pen, relayInC}

// chooses says whether a word of --only stands for a contestant: its whole
// name, or, unless it is another's, the beginning of a word of it.
func chooses(word, name string) bool {
	if slices.Contains(contestantNames, word) {
		return word == name
	}
	return slices.ContainsFunc(strings.Fields(name), func(part string) bool { return strings.HasPrefix(part, word) })
}

// mostClients is how many clients our own balancer is told to expect, more
// than the largest case has.
const mostClients = 20_480

// socketsPerClient is how many sockets a contestant opens for one client that
// goes on sending: one to each server, or one for all. Pen has had up to twice
// as many as clients when it was tried, and ends when it may open no more.
func socketsPerClient(name string) int {
	switch name {
	case direct:
		return 0
	case udplabPortable:
		return 3
	case pen:
		return 2
	}
	return 1
}

// limits is what the system allows.
type limits struct {
	files int // that one process may have open
	ports int // that are given out by themselves, to all sockets together
}

// spare is how many files a program may need beside its clients' sockets.
const spare = 100

// refuse says why a contestant cannot serve a case here; empty: it can.
func (l limits) refuse(name string, lc loadCase) string {
	most := lc.Clients * max(socketsPerClient(name), 1)
	ports := lc.Clients * (socketsPerClient(name) + 1)
	switch {
	case most+spare > l.files:
		return fmt.Sprintf("it takes %s open files in one process, and %s are allowed (ulimit -Hn)", thousands(most+spare), thousands(l.files))
	case ports+spare > l.ports:
		return fmt.Sprintf("it takes %s ports, and there are %s (net.ipv4.ip_local_port_range)", thousands(ports+spare), thousands(l.ports))
	}
	return ""
}

// nginxConfig is a configuration of nginx that balances UDP in turn. It runs
// as one process, as one worker would: there is nothing for a master to do.
// A server that was slow to answer is never taken out (max_fails=0): by
// default a single lost reply takes it out for ten seconds.
func nginxConfig(dir, module string, listen netip.AddrPort, servers []netip.AddrPort, perDatagram bool, files int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "load_module %s;\n", module)
	b.WriteString("daemon off;\nmaster_process off;\nworker_processes 1;\n")
	fmt.Fprintf(&b, "pid %s/nginx.pid;\nerror_log %s/error.log error;\n", dir, dir)
	// A session takes two connections and one file.
	fmt.Fprintf(&b, "worker_rlimit_nofile %d;\nevents { worker_connections %d; }\n", files, 2*files)
	b.WriteString("stream {\n  upstream servers {\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "    server %v max_fails=0;\n", s)
	}
	fmt.Fprintf(&b, "  }\n  server {\n    listen %v udp rcvbuf=4m sndbuf=4m;\n    proxy_pass servers;\n", listen)
	if perDatagram {
		b.WriteString("    proxy_requests 1;\n    proxy_responses 1;\n")
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

// penArguments make pen balance UDP in turn, in the foreground, with room for
// as many clients as it can have sockets for.
func penArguments(listen netip.AddrPort, servers []netip.AddrPort, files int) []string {
	room := fmt.Sprint(min(files/socketsPerClient(pen)-spare, mostClients))
	args := []string{"-f", "-U", "-r", "-c", room, "-x", room, listen.String()}
	for _, s := range servers {
		args = append(args, s.String())
	}
	return args
}

// relayArguments are those of relay.c.
func relayArguments(listen netip.AddrPort, servers []netip.AddrPort, _ int) []string {
	args := []string{fmt.Sprint(listen.Port())}
	for _, s := range servers {
		args = append(args, fmt.Sprint(s.Port()))
	}
	return args
}

// balancerEnvironment configures our own balancer: nothing is switched off,
// and it may have as many clients as the largest case brings.
func balancerEnvironment(listen, page netip.AddrPort, servers []netip.AddrPort, dataPath string) []string {
	return []string{
		"BALANCER_LISTEN=" + listen.String(),
		"BALANCER_HTTP=" + page.String(),
		"BALANCER_BACKENDS=" + join(servers),
		"BALANCER_DATAPATH=" + dataPath,
		fmt.Sprintf("BALANCER_MAX_SESSIONS=%d", mostClients),
	}
}

// join lists addresses with commas.
func join(addrs []netip.AddrPort) string {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return strings.Join(list, ",")
}
