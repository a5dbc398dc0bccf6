// Package api is how people and programs look at the balancer over HTTP:
//
//	/            the page: what happens, as it happens; a table without a script
//	/events      what the page is told, as server-sent events
//	/api/status  the state as JSON
//	/api/ledger  the last turns, a line of JSON each
//	/metrics     the counters, for Prometheus
//	/healthz     200 while the data path runs
//	/readyz      200 while it runs and a server is up
//
// It only reads, from the ledger and the rotation, and changes nothing.
//
// Who may look: a request must name an allowed host, so that no other site's
// page can read the balancer through a visitor's browser by pointing its own
// name here (DNS rebinding), and only GET and HEAD are answered.
package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
)

// Config is what a Server shows.
type Config struct {
	Ledger   *ledger.Ledger
	Rotation *balancing.Rotation
	Alive    func() bool // whether the data path runs
	Hosts    Hosts       // that a request may name
	Facts    Facts
	Grace    time.Duration // that what is under way has at the stop
	// KernelDrops is how many datagrams the kernel has dropped at the
	// listener; nil: nobody knows.
	KernelDrops func() uint64
}

// Facts are what does not change while the balancer runs.
type Facts struct {
	Version  string `json:"version"`
	Listen   string `json:"listen"`
	DataPath string `json:"datapath"`
	WhenDown string `json:"when_down"`
	// AnswerTimeout is after how many milliseconds a turn is unanswered.
	AnswerTimeout float64  `json:"answer_timeout_ms"`
	Servers       []string `json:"-"` // where the servers are, as configured
}

// Server answers on one listener.
type Server struct {
	http     *http.Server
	grace    time.Duration
	feed     *feed
	listener net.Listener
}

// maxConnections is how many may be open at once: each costs a descriptor, and
// the data path needs those for its clients. Readers of /events have theirs, and
// there is room for as many requests and more; who comes then waits.
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
	return &Server{listener: listener, grace: cfg.Grace, feed: feed, http: &http.Server{
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

// Serve answers until the context ends; then it gives what is under way
// a moment to end, and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var feeding sync.WaitGroup
	feeding.Go(func() { s.feed.run(ctx) })
	defer feeding.Wait()
	defer cancel()
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
		defer cancel()
		err := s.http.Shutdown(ending)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.http.Close()
		}
		stopped <- err
	})
	err := s.http.Serve(s.listener)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// handler is everything that is answered.
func handler(cfg Config, feed *feed) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !cfg.Alive() {
			unavailable(w, "the data path does not run")
			return
		}
		text(w, "alive")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		up := func(b ledger.Backend) bool { return b.Up }
		switch {
		case !cfg.Alive():
			unavailable(w, "the data path does not run")
		case !slices.ContainsFunc(cfg.Ledger.Snapshot(time.Now()).Backends, up):
			unavailable(w, "no server is up")
		default:
			text(w, "ready")
		}
	})
	mux.HandleFunc("/api/status", func(w http.ResponseWriter, _ *http.Request) { serveStatus(w, cfg) })
	mux.HandleFunc("/api/ledger", func(w http.ResponseWriter, r *http.Request) { serveLedger(w, r, cfg) })
	mux.HandleFunc("/events", feed.serve)
	mux.Handle("/metrics", metricsHandler(cfg))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { feed.servePage(w) })
	addFiles(mux)
	return guard(cfg.Hosts, mux)
}

// text answers with a line.
func text(w http.ResponseWriter, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, line)
}

func unavailable(w http.ResponseWriter, why string) {
	http.Error(w, why, http.StatusServiceUnavailable)
}

// policy is what a browser may do with the page: load what the balancer itself
// serves, and run no script that is not a file of it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard answers only requests that may look, and tells browsers to load
// nothing from anywhere else.
func guard(hosts Hosts, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		switch {
		case !hosts.Allow(r.Host):
			http.Error(w, fmt.Sprintf("host %q is not one of BALANCER_HTTP_HOSTS (%s)", r.Host, strings.Join(hosts, ",")), http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD: nothing here can be changed", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
