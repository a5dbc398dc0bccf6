package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"udplab/integration/lab"
	"udplab/integration/traffic"
)

// figures is what every program counted, at the end, and what the kernel
// dropped between them.
type figures struct {
	Clients     traffic.Counts
	ClientDrops uint64 // replies that the kernel dropped at the clients' sockets

	Balancer      lab.Status
	ListenerDrops uint64 // datagrams that the kernel dropped at its listener, as its metrics say
	SessionDrops  uint64 // replies that the kernel dropped at its sessions' sockets
	Looked        uint64 // turns that were looked at
	OutOfPlace    uint64 // of those

	Servers []server
}

// server is what a ping server says of itself when it stops, and what the
// kernel dropped at its socket before.
type server struct {
	Name     string `json:"name"`
	Received uint64 `json:"received"`
	Answered uint64 `json:"answered"`
	Lost     uint64 `json:"lost"`
	Failed   uint64 `json:"failed"`
	Dropped  uint64 `json:"dropped"`

	KernelDrops uint64 `json:"-"`
}

// collect asks every program, and stops the servers, whose last log line is
// their count.
func (f *figures) collect(ctx context.Context, stack *lab.Stack) (err error) {
	if err := f.settle(ctx, stack.URL()); err != nil {
		return err
	}
	if f.SessionDrops, err = kernelDrops(stack.BalancerPID(), stack.Addr(), false); err != nil {
		return err
	}
	for i, addr := range stack.Servers() {
		name := fmt.Sprintf("server%d", i+1)
		pid, err1 := stack.ServerPID(name)
		drops, err2 := kernelDrops(pid, netip.MustParseAddrPort(addr), true)
		exit, err3 := stack.StopServer(ctx, name)
		s, err4 := stopped(exit.Stdout)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.KernelDrops = drops
		f.Servers = append(f.Servers, s)
	}
	return nil
}

// settle reads the balancer's counters once they have everything that the
// clients sent and got: a reply may be with its client before it is counted.
// If they never do, the sheet shows what is missing.
func (f *figures) settle(ctx context.Context, url string) error {
	var broken error
	_ = lab.Until(ctx, func(ctx context.Context) error {
		var drops float64
		if f.Balancer, broken = lab.ReadStatus(ctx, url); broken == nil {
			drops, broken = lab.ReadMetric(ctx, url, "balancer_kernel_drops_total")
		}
		f.ListenerDrops = uint64(drops)
		if broken == nil && (f.Balancer.Replied < f.Clients.Replies() || f.Balancer.Received+f.ListenerDrops < f.Clients.Sent) {
			return errors.New("not everything is counted")
		}
		return broken
	})
	return broken
}

// kernelDrops is how many datagrams the kernel dropped at a process's UDP
// sockets: at the one that listens on addr, or at all others. Where there is
// no /proc it is 0.
func kernelDrops(pid int, addr netip.AddrPort, listener bool) (sum uint64, err error) {
	sockets, err := lab.UDPSockets(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, s := range sockets {
		if listener == (s.Port == int(addr.Port())) {
			sum += s.Drops
		}
	}
	return sum, err
}

// stopped reads what a ping server counted from the last line of its log.
func stopped(log string) (s server, err error) {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	line := struct {
		Event string `json:"event"`
		*server
	}{server: &s}
	last := lines[len(lines)-1]
	if err := json.Unmarshal([]byte(last), &line); err != nil || line.Event != "stopped" {
		return s, fmt.Errorf("its log ends with %q, want its count (%v)", last, err)
	}
	return s, nil
}
