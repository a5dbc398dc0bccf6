// Package web is how people and programs look at the balancer over HTTP:
// health, readiness, and the state as a table and as JSON. It only reads, from
// the ledger and the rotation, and changes nothing.
//
// Who may look: a request must name an allowed host, so that no other site's
// page can read the balancer through a visitor's browser by pointing its own
// name here (DNS rebinding), and only GET and HEAD are answered.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/rotation"
)

// Config is what a Server shows.
type Config struct {
	Ledger   *ledger.Ledger
	Rotation *rotation.Rotation
	Alive    func() bool // whether the data path runs
	Hosts    []string    // that a request may name, without ports
	Facts    Facts
}

// Facts are what does not change while the balancer runs.
type Facts struct {
	Version  string   `json:"version"`
	Listen   string   `json:"listen"`
	DataPath string   `json:"datapath"`
	WhenDown string   `json:"when_down"`
	Servers  []string `json:"-"` // where the servers are, as configured
}

// Server answers on one listener.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Listen opens the address, "[host]:port"; nothing is answered before Serve.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

// New returns a server on a listener, which it closes in the end.
func New(listener net.Listener, cfg Config) *Server {
	return &Server{listener: listener, http: &http.Server{
		Handler:           Handler(cfg),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 20,
	}}
}

// Serve answers until the context ends; then it gives what is under way
// a moment to end, and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err := s.http.Shutdown(grace)
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

// Handler is everything that is answered.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		verdict(w, cfg.Alive(), "alive", "the data path does not run")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready := slices.ContainsFunc(cfg.Ledger.Snapshot(time.Now()).Backends, func(b ledger.Backend) bool { return b.Up })
		verdict(w, ready && cfg.Alive(), "ready", "no server is up")
	})
	mux.HandleFunc("/api/status", func(w http.ResponseWriter, _ *http.Request) { serveStatus(w, cfg) })
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { servePage(w, cfg) })
	return guard(cfg.Hosts, mux)
}

func verdict(w http.ResponseWriter, good bool, yes, no string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, no)
		return
	}
	fmt.Fprintln(w, yes)
}

// guard answers only requests that may look, and tells browsers to load
// nothing from anywhere else.
func guard(hosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		switch {
		case !slices.ContainsFunc(hosts, func(host string) bool { return strings.EqualFold(host, hostOf(r.Host)) }):
			http.Error(w, fmt.Sprintf("host %q is not one of BALANCER_HTTP_HOSTS (%s)", r.Host, strings.Join(hosts, ",")), http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD: nothing here can be changed", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// hostOf is the host of a Host header without its port; an IPv6 address keeps
// its brackets.
func hostOf(header string) string {
	if i := strings.LastIndexByte(header, ':'); i > strings.LastIndexByte(header, ']') {
		return header[:i]
	}
	return header
}
