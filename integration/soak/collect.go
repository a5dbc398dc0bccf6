package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"udplab/integration/lab"
)

// figures is what everybody counted, at the end.
type figures struct {
	Clients     counts
	ClientDrops uint64 // answers that the kernel dropped at the clients' sockets

	Balancer      status
	ListenerDrops uint64 // datagrams that the kernel dropped at its listener, as its metrics say
	SessionDrops  uint64 // answers that the kernel dropped at its sessions' sockets
	Looked        uint64 // turns that were looked at
	OutOfPlace    uint64 // of those

	Servers []server
}

// status is what is of interest in /api/status.
type status struct {
	Received        uint64            `json:"received"`
	Forwarded       uint64            `json:"forwarded"`
	Replied         uint64            `json:"replied"`
	Dropped         map[string]uint64 `json:"dropped"`
	Turns           uint64            `json:"turns"`
	OrderViolations uint64            `json:"order_violations"`
	Backends        []struct {
		Name      string `json:"name"`
		Turns     uint64 `json:"turns"`
		Forwarded uint64 `json:"forwarded"`
	} `json:"backends"`
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

// collect asks everybody, and stops the servers, whose last word is their
// count.
func collect(ctx context.Context, lab *lab.Stack, clients counts, clientDrops uint64) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	f.Clients, f.ClientDrops = clients, clientDrops
	if f.Balancer, err = settledStatus(ctx, lab.URL(), clients); err != nil {
		return f, err
	}
	if f.ListenerDrops, err = listenerDrops(ctx, lab.URL()); err != nil {
		return f, err
	}
	if f.SessionDrops, err = kernelDrops(lab.BalancerPID(), lab.Addr().String(), false); err != nil {
		return f, err
	}
	for i, addr := range lab.Servers() {
		name := fmt.Sprintf("server%d", i+1)
		pid, err := lab.ServerPID(name)
		if err != nil {
			return f, err
		}
		drops, err := kernelDrops(pid, addr, true)
		if err != nil {
			return f, err
		}
		exit, err := lab.StopServer(ctx, name)
		if err != nil {
			return f, err
		}
		s, err := lastWord(exit.Stdout)
		if err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
		s.KernelDrops = drops
		f.Servers = append(f.Servers, s)
	}
	return f, nil
}

// settledStatus asks the balancer until it has entered everything that the
// clients have got: an answer may be with its client before it is in the
// ledger. It waits for a second at most; then the books show what is missing.
func settledStatus(ctx context.Context, url string, clients counts) (s status, err error) {
	got := clients.InTime + clients.Late + clients.Twice + clients.Foreign
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for range 50 {
		body, err := get(ctx, url+"/api/status")
		if err != nil {
			return s, err
		}
		s = status{}
		err = json.NewDecoder(body).Decode(&s)
		body.Close()
		if err != nil {
			return s, fmt.Errorf("/api/status: %w", err)
		}
		if s.Replied >= got && s.Received >= clients.Sent {
			break
		}
		<-look.C
	}
	return s, nil
}

// listenerDrops asks the balancer's metrics.
func listenerDrops(ctx context.Context, url string) (uint64, error) {
	body, err := get(ctx, url+"/metrics")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	for lines := bufio.NewScanner(body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "balancer_kernel_drops_total "); ok {
			n, err := strconv.ParseFloat(value, 64)
			return uint64(n), err
		}
	}
	return 0, errors.New("/metrics: no balancer_kernel_drops_total")
}

// get asks the balancer.
func get(ctx context.Context, url string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	direct := http.Transport{DisableKeepAlives: true} // no proxy, whatever the environment says
	answer, err := direct.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return answer.Body, nil
}

// kernelDrops is how many datagrams the kernel dropped at a process's UDP
// sockets: at the one that listens on addr, or at all others. Where there is
// no /proc it is 0.
func kernelDrops(pid int, addr string, listener bool) (sum uint64, err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	sockets, err := lab.UDPSockets(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, s := range sockets {
		if listener == (strconv.Itoa(s.Port) == port) {
			sum += s.Drops
		}
	}
	return sum, err
}

// lastWord reads what a ping server counted from the last line of its log.
func lastWord(log string) (s server, err error) {
	log = strings.TrimSpace(log)
	line := struct {
		Event string `json:"event"`
		*server
	}{server: &s}
	last := log[strings.LastIndexByte(log, '\n')+1:]
	if err := json.Unmarshal([]byte(last), &line); err != nil || line.Event != "stopped" {
		return s, fmt.Errorf("its log ends with %q, want its count (%v)", last, err)
	}
	return s, nil
}
