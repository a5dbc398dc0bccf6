// Package api is how people and programs look at the balancer over HTTP:
//
//	/            the page: what happens, as it happens; a table without a script
//	/page.json   what the page says, for its script
//	/events      what the page is told, as server-sent events
//	/api/status  the state as JSON
//	/api/ledger  the last turns, a line of JSON each
//	/metrics     the counters, for Prometheus
//	/healthz     200 while the data path runs
//	/readyz      200 while it runs and a server is up
//
// It only reads, from the ledger and the scheduler, and changes nothing.
//
// A request must name an allowed host. So no other site's page can read the
// balancer through a visitor's browser by pointing its own name here (DNS
// rebinding). Only GET and HEAD are answered.
package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/view"
)

// Config is what a Server shows.
type Config struct {
	Ledger    *ledger.Ledger
	Scheduler *balancing.Scheduler
	Alive     func() bool // whether the data path runs
	Hosts     Hosts       // that a request may name
	HostsFrom string      // the variable that sets Hosts, for whoever is refused
	Facts     view.Facts
	Grace     time.Duration // that requests under way have at the stop
	// KernelDrops is how many datagrams the kernel has dropped at the
	// listener; 0 where it does not say.
	KernelDrops func() uint64
}

// Server answers on one listener.
type Server struct {
	http     *http.Server
	feed     *feed
	listener net.Listener
}

// maxConnections may be open at once; a further one waits. Each costs a
// descriptor, and the data path needs those for its clients.
const maxConnections = 4 * maxReaders

// Listen opens the address, "[host]:port"; nothing is answered before Serve.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{Control: giveUpVanished}
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(listener, maxConnections), nil
}

// New returns a server on a listener, which it closes in the end.
func New(listener net.Listener, cfg Config) *Server {
	feed := newFeed(cfg)
	return &Server{listener: listener, feed: feed, http: &http.Server{
		Handler:           handler(cfg, feed),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 20,
		// Without it, OPTIONS * is answered before guard is asked.
		DisableGeneralOptionsHandler: true,
	}}
}

// Serve answers until the context ends; then it gives requests under way
// a moment to end, and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.feed.run(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.feed.Grace)
		defer cancel()
		if s.http.Shutdown(ending) != nil {
			_ = s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	cancel()
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
