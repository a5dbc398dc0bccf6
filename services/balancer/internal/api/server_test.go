package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// balancer is a balancer with two servers that has had three turns: the first
// was answered, the second not, the third was dropped.
type balancer struct {
	Config
	feed  *feed
	alive atomic.Bool
}

func newBalancer(names ...string) *balancer {
	start := time.Now().Add(-time.Minute)
	b := &balancer{}
	b.alive.Store(true)
	b.Config = Config{
		Ledger:      ledger.New(names, time.Second, start),
		Rotation:    balancing.New(len(names), balancing.Skip),
		Alive:       b.alive.Load,
		Hosts:       Hosts{"localhost", "127.0.0.1", "[::1]", "balancer"},
		Facts:       Facts{Version: "v1.2.3", Listen: "[::]:8888", DataPath: "portable", WhenDown: "skip", AnswerTimeout: 1000},
		Grace:       500 * time.Millisecond,
		KernelDrops: func() uint64 { return 17 },
	}
	for i, name := range names {
		b.Facts.Servers = append(b.Facts.Servers, name+".lab:2526")
		if i == 0 {
			b.Ledger.BackendAt(start, i, netip.MustParseAddrPort("127.0.0.1:2526"))
		}
	}
	client := netip.MustParseAddrPort("127.0.0.1:4000")
	pending := make([]ledger.Outstanding, len(names))
	b.Ledger.SessionOpened()
	turns := make([]balancing.Turn, 3)
	b.Rotation.Take(turns)
	for i, turn := range turns {
		fate := ledger.Forwarded
		if i == 2 {
			fate = ledger.SendFailed
		}
		b.Ledger.Received(start.Add(time.Second), []ledger.Request{{
			Client: client, Bytes: 19, Disposition: fate, Turn: turn.Number, Backend: turn.Backend, Outstanding: &pending[turn.Backend],
		}})
	}
	b.Ledger.Replied(start.Add(time.Second+412*time.Microsecond), []ledger.Reply{{Backend: 0, Bytes: 27, Head: []byte("PING 1 10:04:05.120 server1"), Outstanding: &pending[0]}})
	b.Ledger.Dropped(ledger.NoBackend, 4)
	b.feed = newFeed(b.Config)
	return b
}

func (b *balancer) down(i int, reason string) {
	b.Rotation.Set(i, balancing.Down)
	b.Ledger.BackendDown(time.Now(), i, ledger.Evidence{Reason: reason})
}

// ask asks the handler and returns its answer.
func (b *balancer) ask(method, host, path string) *httptest.ResponseRecorder {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // /events has no end
	defer cancel()
	request := httptest.NewRequestWithContext(ctx, method, path, nil)
	request.Host = host
	answer := httptest.NewRecorder()
	handler(b.Config, b.feed).ServeHTTP(answer, request)
	return answer
}

func TestHealthAndReadiness(t *testing.T) {
	tests := []struct {
		name           string
		change         func(b *balancer)
		health, ready  int
		saysH, saysRdy string
	}{
		{"all is well", func(*balancer) {}, 200, 200, "alive\n", "ready\n"},
		{"one server is down", func(b *balancer) { b.down(0, "connection refused") }, 200, 200, "alive\n", "ready\n"},
		{"no server is up", func(b *balancer) { b.down(0, "x"); b.down(1, "x") }, 200, 503, "alive\n", "no server is up\n"},
		{"the data path is dead", func(b *balancer) { b.alive.Store(false) }, 503, 503, "the data path does not run\n", "the data path does not run\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBalancer("server1", "server2")
			test.change(b)
			if a := b.ask("GET", "localhost", "/healthz"); a.Code != test.health || a.Body.String() != test.saysH {
				t.Errorf("/healthz: %d %q, want %d %q", a.Code, a.Body, test.health, test.saysH)
			}
			if a := b.ask("GET", "localhost", "/readyz"); a.Code != test.ready || a.Body.String() != test.saysRdy {
				t.Errorf("/readyz: %d %q, want %d %q", a.Code, a.Body, test.ready, test.saysRdy)
			}
		})
	}
}

func TestStatusIsOneJSONSnapshot(t *testing.T) {
	for name, change := range map[string]func(b *balancer){
		"up":   func(*balancer) {},
		"down": func(b *balancer) { b.down(0, `said "no"`); b.down(1, "its name is gone") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer("server1", "server2")
			change(b)
			answer := b.ask("GET", "localhost", "/api/status")
			if got := answer.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			got := maskTimes(t, answer.Body.Bytes())
			golden := "testdata/status_" + name + ".json"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
				t.Errorf("%s (-update writes it anew) differs from\n%s", golden, got)
			}
		})
	}
}

// maskTimes checks every time in the JSON and puts TIME in its place.
func maskTimes(t *testing.T, text []byte) string {
	t.Helper()
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		value = strings.TrimSuffix(value, ",")
		var at time.Time
		if slices.Contains([]string{`"at"`, `"started"`, `"since"`, `"last_seen"`}, name) && value != "null" {
			if err := json.Unmarshal([]byte(value), &at); err != nil || time.Since(at) > time.Hour {
				t.Errorf("%s is no time of the last hour: %v", line, err)
			}
			lines[i] = strings.Replace(line, value, `"TIME"`, 1)
		}
	}
	return strings.Join(lines, "")
}

func TestPathsAndMethods(t *testing.T) {
	tests := []struct {
		method, path string
		code         int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/style.css", 200}, {"HEAD", "/healthz", 200}, {"HEAD", "/api/status", 200},
		{"GET", "/main.js", 200}, {"GET", "/icon.svg", 200}, {"GET", "/api/ledger", 200}, {"GET", "/metrics", 200},
		{"HEAD", "/api/ledger", 200}, {"HEAD", "/metrics", 200}, {"HEAD", "/events", 200},
		{"GET", "/page.html", 404}, {"GET", "/page/main.js", 404}, {"GET", "/events/", 404},
		{"POST", "/events", 405}, {"POST", "/metrics", 405}, {"DELETE", "/api/ledger", 405},
		{"GET", "/nothing", 404}, {"GET", "/api/", 404}, {"GET", "/healthz/", 404}, {"GET", "/../page.html", 404}, {"HEAD", "/favicon.ico", 404},
		{"POST", "/", 405}, {"PUT", "/api/status", 405}, {"DELETE", "/nothing", 405}, {"OPTIONS", "/healthz", 405}, {"TRACE", "/", 405},
	}
	b := newBalancer("server1", "server2")
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			answer := b.ask(test.method, "localhost", test.path)
			code := answer.Code
			for code/100 == 3 { // a path with .. is cleaned first
				answer = b.ask(test.method, "localhost", answer.Header().Get("Location"))
				code = answer.Code
			}
			if code != test.code {
				t.Errorf("%d, want %d", code, test.code)
			}
			if allow := answer.Header().Get("Allow"); (allow == "GET, HEAD") != (test.code == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
}

// What a server answers by itself never comes to the handler, so these have to
// be asked over a connection.
func TestNothingIsAnsweredPastTheGuard(t *testing.T) {
	b := newBalancer("server1")
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := New(listener, b.Config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	defer func() { cancel(); <-done }()
	for request, want := range map[string]string{
		"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n":    "HTTP/1.1 403 ",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n":       "HTTP/1.1 405 ",
		"CONNECT evil.example:80 HTTP/1.1\r\nHost: x\r\n\r\n": "HTTP/1.1 403 ",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                    "HTTP/1.1 4",
	} {
		conn := dial(t, listener.Addr().String())
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, request)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, want) {
			t.Errorf("%q is answered %q (%v)", request, line, err)
		}
	}
}

func TestOnlyAllowedHostsAreAnswered(t *testing.T) {
	tests := []struct {
		host    string
		allowed bool
	}{
		{"localhost", true}, {"localhost:8080", true}, {"LocalHost:8080", true}, {"balancer:8080", true},
		{"127.0.0.1", true}, {"127.0.0.1:8080", true},
		{"[::1]", true}, {"[::1]:8080", true}, {"[0:0::1]:8080", true},
		{"", false}, {":8080", false}, {"evil.example", false}, {"evil.example:8080", false}, {"EVIL.EXAMPLE", false},
		{"localhost.evil.example", false}, {"evil.example:localhost", false}, {"localhost@evil.example", false},
		{"127.0.0.2:8080", false}, {"[::2]:8080", false}, {"[::ffff:127.0.0.1]", false},
		{"::1", false}, {"[::1", false}, {"::1]", false}, {"[[::1]]", false}, {"[localhost]", false}, {"[]", false},
	}
	b := newBalancer("server1")
	for _, test := range tests {
		for _, path := range []string{"/", "/api/status", "/healthz", "/nothing"} {
			answer := b.ask("GET", test.host, path)
			if (answer.Code != http.StatusForbidden) != test.allowed {
				t.Errorf("Host: %s at %s: %d", test.host, path, answer.Code)
			}
			if !test.allowed && strings.Contains(answer.Body.String(), "server1") {
				t.Errorf("Host: %s at %s: the answer tells something", test.host, path)
			}
		}
	}
	if text := b.ask("POST", "evil.example", "/").Body.String(); !strings.Contains(text, `"evil.example"`) || !strings.Contains(text, "BALANCER_HTTP_HOSTS") {
		t.Errorf("the answer names neither the host nor the cure: %s", text)
	}
}

func TestHostsAreNamesWithoutPorts(t *testing.T) {
	good := map[string]Hosts{
		"localhost":                        {"localhost"},
		"localhost,127.0.0.1,[::1]":        {"localhost", "127.0.0.1", "[::1]"},
		" Lab.Example , ::1 ,[0:0:0:0::1]": {"lab.example", "[::1]", "[::1]"},
	}
	for text, want := range good {
		var got Hosts
		if err := got.UnmarshalText([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, value := range map[string]string{
		"":                     "",
		"localhost,":           "",
		"localhost:8080":       "localhost:8080",
		"a,http://b,c":         "http://b",
		"*":                    "*",
		"a b":                  "a b",
		"localhost,[::1]:8080": "[::1]:8080",
		"lab,größe":            "größe",
		"[fe80::1%eth0]":       "[fe80::1%eth0]",
	} {
		got := Hosts{"before"}
		err := got.UnmarshalText([]byte(text))
		var problem config.Problem
		if !errors.As(err, &problem) || problem.Value != value || problem.Want == "" {
			t.Errorf("%q: %v", text, err)
		}
		if !slices.Equal(got, Hosts{"before"}) {
			t.Errorf("%q: changed to %v", text, got)
		}
	}
}

func TestEveryAnswerTellsTheBrowserToBeStrict(t *testing.T) {
	b := newBalancer("server1")
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
	}
	for _, answer := range []*httptest.ResponseRecorder{
		b.ask("GET", "localhost", "/"), b.ask("GET", "localhost", "/style.css"), b.ask("GET", "localhost", "/api/status"),
		b.ask("GET", "localhost", "/main.js"), b.ask("GET", "localhost", "/metrics"), b.ask("HEAD", "localhost", "/events"),
		b.ask("GET", "localhost", "/healthz"), b.ask("GET", "localhost", "/nothing"), b.ask("POST", "localhost", "/"), b.ask("GET", "evil", "/"),
	} {
		for name, value := range want {
			if got := answer.Header().Get(name); got != value {
				t.Errorf("%d: %s: %q", answer.Code, name, got)
			}
		}
	}
}

// serve runs a server on loopback until stop is called, which returns how long
// that took and what Serve returned.
func serve(t *testing.T, change func(s *Server)) (address string, stop func() (time.Duration, error)) {
	t.Helper()
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := New(listener, newBalancer("server1", "server2").Config)
	change(server)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx) }()
	t.Cleanup(cancel)
	return listener.Addr().String(), func() (time.Duration, error) {
		began := time.Now()
		cancel()
		err := <-result
		return time.Since(began), err
	}
}

func unchanged(*Server) {}

func TestHEADHasTheHeadersOnly(t *testing.T) {
	address, stop := serve(t, unchanged)
	defer stop()
	for _, path := range []string{"/", "/api/status", "/healthz", "/style.css"} {
		conn := dial(t, address)
		io.WriteString(conn, "HEAD "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "Content-Type: ") || body != "" {
			t.Errorf("%s: %q", path, answer)
		}
	}
}

func TestTheServerStopsWhileConnectionsAreOpen(t *testing.T) {
	tests := []struct{ name, said string }{
		{"one that has said nothing yet", ""},
		{"one in the middle of its request", "GET / HTTP/1.1\r\nHost: loc"},
		{"one that is kept for the next request", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address, stop := serve(t, unchanged)
			conn := dial(t, address)
			io.WriteString(conn, test.said)
			// An answer to another connection shows that this one was accepted.
			other := dial(t, address)
			io.WriteString(other, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			if _, err := io.ReadAll(other); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(test.said, "\r\n\r\n") {
				if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
					t.Fatal(err)
				}
			}
			if took, err := stop(); err != nil || took > time.Second {
				t.Errorf("returned %v after %v", err, took)
			}
			if _, err := net.Dial("tcp", address); err == nil {
				t.Error("somebody still listens")
			}
			if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}

func TestAServerThatIsStoppedBeforeItServesReleasesItsListener(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(listener, newBalancer("server1").Config).Serve(ctx); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("somebody still listens")
	}
}

func TestAListenerThatFailsEndsTheServer(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := New(listener, newBalancer("server1").Config).Serve(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("returned %v", err)
	}
}

func TestSlowReadersAndWritersAreCutOff(t *testing.T) {
	plain := New(nil, newBalancer("server1").Config).http
	for name, limit := range map[string]time.Duration{
		"ReadHeaderTimeout": plain.ReadHeaderTimeout, "ReadTimeout": plain.ReadTimeout,
		"WriteTimeout": plain.WriteTimeout, "IdleTimeout": plain.IdleTimeout,
	} {
		if limit <= 0 || limit > time.Minute {
			t.Errorf("%s is %v", name, limit)
		}
	}

	address, stop := serve(t, func(s *Server) { s.http.ReadHeaderTimeout = 50 * time.Millisecond })
	defer stop()
	conn := dial(t, address)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: loc") // and nothing more
	if answer, err := io.ReadAll(conn); err != nil || strings.Contains(string(answer), "200 OK") {
		t.Errorf("answer %q, error %v", answer, err)
	}
}

func TestAnEndlessHeaderIsRefused(t *testing.T) {
	address, stop := serve(t, unchanged)
	defer stop()
	conn := dial(t, address)
	go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 2<<20)+"\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("%q, %v", line, err)
	}
}

// dial opens a connection that the test cannot hang on.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}
