package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/datapath"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/program"
)

// roles is what a test may start this program again as, by the name that
// roleVariable then has.
var roles = map[string]func(){}

const roleVariable = "UDPLAB_TEST_ROLE"

func TestMain(m *testing.M) {
	if play := roles[os.Getenv(roleVariable)]; play != nil {
		play()
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come: so long that a busy
// machine makes no test fail.
const patience = time.Minute

// nowhere is a host whose name does not resolve. Nobody asks a name server for
// it (RFC 7686).
const nowhere = "nowhere.onion"

// startServers starts servers on loopback and returns them as
// BALANCER_BACKENDS has them.
func startServers(t *testing.T, names ...string) string {
	t.Helper()
	var list []string
	for _, name := range names {
		_, addr := startServer(t, name, "127.0.0.1:0")
		list = append(list, name+"="+addr)
	}
	return strings.Join(list, ",")
}

// startServer starts a server that answers in upper case with its name.
func startServer(t *testing.T, name, listen string) (stop func(), addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo(append(bytes.ToUpper(buf[:n]), " "+name...), from)
		}
	})
	stop = func() { conn.Close(); serving.Wait() }
	t.Cleanup(stop)
	return stop, conn.LocalAddr().String()
}

// line is one line of the log.
type line map[string]any

func (l line) text(attribute string) string { s, _ := l[attribute].(string); return s }

// running is a balancer that runs.
type running struct {
	t      *testing.T
	addr   string // that clients send to
	page   string // its URL
	stop   context.CancelFunc
	result chan error
	lines  chan line // closed when it has returned
	before []line    // those that came before it listened
}

// start runs a balancer and waits until it listens.
func start(t *testing.T, environ ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	r := &running{t: t, stop: stop, result: make(chan error, 1), lines: make(chan line, 1000)}
	environ = append([]string{"BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_ANSWER_TIMEOUT=1m", "LOG_FORMAT=json"}, environ...)
	reader, writer := io.Pipe()
	go func() {
		err := run(ctx, nil, environ, writer)
		writer.Close()
		r.result <- err
	}()
	go func() {
		defer close(r.lines)
		for decoder := json.NewDecoder(reader); ; {
			var l line
			if decoder.Decode(&l) != nil {
				return
			}
			r.lines <- l
		}
	}()
	for {
		l := r.next()
		if l.text("event") == "listening" {
			r.addr, r.page = l.text("addr"), l.text("http")
			return r
		}
		r.before = append(r.before, l)
	}
}

// next is the next line of the log.
func (r *running) next() line {
	r.t.Helper()
	select {
	case l, ok := <-r.lines:
		if ok {
			return l
		}
		r.t.Fatalf("the balancer ended: %v", <-r.result)
	case <-time.After(patience):
		r.t.Fatal("no line came")
	}
	return nil
}

// end stops the balancer and returns the rest of the log.
func (r *running) end() (rest []line) {
	r.t.Helper()
	r.stop()
	for l := range r.lines {
		rest = append(rest, l)
	}
	if err := <-r.result; err != nil {
		r.t.Errorf("returned %v", err)
	}
	return rest
}

// ping sends datagrams one by one from one socket and returns who answered.
func (r *running) ping(n int) (order string) {
	r.t.Helper()
	conn, err := net.Dial("udp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 65536)
	for i := range n {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintf(conn, "ping %d", i+1)
		size, err := conn.Read(buf)
		if err != nil {
			r.t.Fatal(err)
		}
		server, ok := strings.CutPrefix(string(buf[:size]), fmt.Sprintf("PING %d server", i+1))
		if !ok {
			r.t.Fatalf("answer %q to ping %d", buf[:size], i+1)
		}
		order += server
	}
	return order
}

func TestARunFromItsStartToItsSummary(t *testing.T) {
	servers := startServers(t, "server1", "server2", "server3")
	r := start(t, "BALANCER_BACKENDS="+servers, "BALANCER_UNKNOWN=1")
	if len(r.before) != 1 || r.before[0].text("level") != "WARN" || !strings.Contains(r.before[0].text("msg"), "BALANCER_UNKNOWN") {
		t.Errorf("before it listens it says %v, want one warning", r.before)
	}
	for i, server := range strings.Split(servers, ",") {
		name, addr, _ := strings.Cut(server, "=")
		if got, want := r.next().text("msg"), fmt.Sprintf("turn %d: %s at %s", i+1, name, addr); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}

	if order := r.ping(10); order != "1231231231" {
		t.Errorf("answered by %s", order)
	}
	for path, want := range map[string]string{"/healthz": "alive\n", "/readyz": "ready\n", "/api/status": `"turns": 10`, "/": "Servers in turn order"} {
		if got := get(t, r.page+path); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}

	rest := r.end()
	for i := range 10 {
		if l := rest[i]; l["turn"] != float64(i+1) || l["outcome"] != "answered" || l["server"] != fmt.Sprintf("server%d", i%3+1) {
			t.Errorf("line %v, want that of turn %d", l, i+1)
		}
	}
	if len(rest) != 11 {
		t.Fatalf("%d lines, want ten turns and the summary: %v", len(rest), rest)
	}
	last := rest[10]
	if want := "stopped: 10 received, 10 forwarded, 10 replied, 0 dropped; the next turn is server2's"; last.text("msg") != want {
		t.Errorf("the last line is %q, want %q", last.text("msg"), want)
	}
	if last["received"] != 10.0 || last["dropped"] != 0.0 {
		t.Errorf("the summary's attributes: %v", last)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	direct := http.Transport{DisableKeepAlives: true}
	answer, err := direct.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatHappensToAServerIsSeenEverywhere(t *testing.T) {
	stop, addr := startServer(t, "server2", "127.0.0.1:0")
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1")+",server2="+addr, "BALANCER_PROBE=healthcheck",
		"BALANCER_PROBE_INTERVAL=20ms", "BALANCER_PROBE_TIMEOUT=1m") // so that nothing but a refusal takes it down
	seen := func(logged string, metrics ...string) {
		t.Helper()
		for l := r.next(); l.text("msg") != logged; l = r.next() {
		}
		text := get(t, r.page+"/metrics")
		for _, want := range metrics {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("/metrics has no %s", want)
			}
		}
	}
	stop()
	seen("server2 down: connection refused; its turns go to the next server",
		`balancer_backend_up{backend="server2"} 0`, `balancer_backend_transitions_total{backend="server2",to="down"} 1`)
	if status := get(t, r.page+"/api/status"); !strings.Contains(status, `"reason": "connection refused"`) {
		t.Errorf("/api/status: %s", status)
	}
	if hello := firstEvent(t, r.page); !strings.Contains(hello, `server2 is down: connection refused; its turns go to the next server`) {
		t.Errorf("/events: %s", hello)
	}
	startServer(t, "server2", addr)
	seen("server2 up",
		`balancer_backend_up{backend="server2"} 1`, `balancer_backend_transitions_total{backend="server2",to="up"} 1`)
	if hello := firstEvent(t, r.page); !strings.Contains(hello, `server2 is up and has its turns again`) {
		t.Errorf("/events: %s", hello)
	}
	r.end()
}

// firstEvent is the line that says how things are to one who comes to watch.
func firstEvent(t *testing.T, page string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	direct := http.Transport{DisableKeepAlives: true}
	answer, err := direct.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for lines := bufio.NewReader(answer.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return data
		}
	}
}

func TestTheRotationGoesOnOverRestarts(t *testing.T) {
	servers := startServers(t, "server1", "server2", "server3")
	path := filepath.Join(t.TempDir(), "turns")
	for i, want := range []string{"1231231231", "2312312312", "3123123123"} {
		r := start(t, "BALANCER_BACKENDS="+servers, "BALANCER_STATE_FILE="+path)
		if i > 0 {
			said := fmt.Sprintf("going on after turn %d of an earlier run: the next is server%d's", 10*i, i+1)
			if len(r.before) != 1 || r.before[0].text("msg") != said {
				t.Errorf("run %d says %v, want %q", i+1, r.before, said)
			}
		}
		if order := r.ping(10); order != want {
			t.Errorf("run %d: answered by %s, want %s", i+1, order, want)
		}
		r.end()
		kept, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(kept), fmt.Sprintf(`"turns":%d,"last":"server%d"`, 10*(i+1), i+1)) {
			t.Errorf("run %d leaves %s, error %v", i+1, kept, err)
		}
	}
}

func TestAStateFileThatIsNotOursIsAWarningAndNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	if err := os.WriteFile(path, []byte("my thesis"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1"), "BALANCER_STATE_FILE="+path)
	if len(r.before) != 1 || r.before[0].text("level") != "WARN" || !strings.Contains(r.before[0].text("msg"), "left alone") {
		t.Errorf("it says %v", r.before)
	}
	r.ping(1)
	r.end()
	if kept, _ := os.ReadFile(path); string(kept) != "my thesis" {
		t.Errorf("the file holds %q", kept)
	}
}

func TestAStopDuringTheStartIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	err := run(ctx, nil, []string{"BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_BACKENDS=" + nowhere + ":1"}, &out)
	if err != nil || out.Len() > 0 {
		t.Errorf("returned %v and printed %s", err, &out)
	}
}

func TestAServerWhoseNameDoesNotResolveIsDownAndTheOthersServe(t *testing.T) {
	t.Parallel() // the start waits for it for three seconds
	servers := strings.Split(startServers(t, "server1", "server3"), ",")
	r := start(t, "BALANCER_BACKENDS="+servers[0]+",server2="+nowhere+":2527,"+servers[1])
	want := []string{
		"turn 1: server1 at " + strings.TrimPrefix(servers[0], "server1="),
		"turn 2: server2, once " + nowhere + " resolves",
		"turn 3: server3 at " + strings.TrimPrefix(servers[1], "server3="),
		"server2 down: its name does not resolve: ",
	}
	for _, said := range want {
		if l := r.next(); !strings.HasPrefix(l.text("msg"), said) || strings.Contains(fmt.Sprint(l), "invalid AddrPort") {
			t.Errorf("it says %v, want %q", l, said)
		}
	}
	if order := r.ping(5); order != "13131" {
		t.Errorf("answered by %s", order)
	}
	if got := get(t, r.page+"/readyz"); got != "ready\n" {
		t.Errorf("/readyz: %s", got)
	}
	if got := get(t, r.page+"/api/status"); !strings.Contains(got, `"reason": "its name does not resolve: `) || !strings.Contains(got, `"addr": null`) {
		t.Errorf("/api/status: %s", got)
	}
	r.end()
}

func TestABalancerWhoseServersAllDoNotResolveIsAliveAndNotReady(t *testing.T) {
	t.Parallel() // the start waits for them for three seconds
	r := start(t, "BALANCER_BACKENDS=a="+nowhere+":1,b="+nowhere+":2")
	if got := get(t, r.page+"/healthz"); got != "alive\n" {
		t.Errorf("/healthz: %s", got)
	}
	if got := get(t, r.page+"/readyz"); got != "no server is up\n" {
		t.Errorf("/readyz: %s", got)
	}
	rest := r.end()
	if last := rest[len(rest)-1].text("msg"); !strings.HasSuffix(last, "the next turn is nobody's: no server is up") {
		t.Errorf("the last line is %q", last)
	}
}

func TestTheSummaryNamesReasonsAndWhenNobodyIsNext(t *testing.T) {
	cfg, _, err := load(nil, []string{"BALANCER_BACKENDS=127.0.0.1:9", "BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=", "LOG_FORMAT=pretty"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b, err := open(t.Context(), cfg, cfg.Logger(&out))
	if err != nil {
		t.Fatal(err)
	}
	defer b.relay.Close()
	b.ledger.Dropped(ledger.NoBackend, 3)
	b.ledger.Dropped(ledger.Shutdown, 1)
	b.rotation.Set(0, balancing.Down)
	b.sumUp()
	want := " stopped: 4 received, 0 forwarded, 0 replied, 4 dropped (no_backend 3, shutdown 1); the next turn is nobody's: no server is up\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("%q", out.String())
	}
}

// dying is a data path that fails once it runs.
type dying struct {
	datapath.Relay
	err error
}

func (d dying) Run(context.Context) error { return errors.Join(d.err, d.Close()) }

func TestADataPathThatDiesEndsTheBalancer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	cfg, _, err := load(nil, []string{"BALANCER_BACKENDS=127.0.0.1:9", "BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_STATE_FILE=" + path})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b, err := open(t.Context(), cfg, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the listener broke")
	b.relay = dying{b.relay, broken}
	if err := b.serve(t.Context()); !errors.Is(err, broken) || program.ExitCode(err) != 1 {
		t.Errorf("returned %v, exit code %d", err, program.ExitCode(err))
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); !strings.Contains(lines[len(lines)-1], "stopped: ") {
		t.Errorf("the last line is no summary:\n%s", &out)
	}
	if _, err := net.Dial("tcp", b.page.Addr().String()); err == nil {
		t.Error("the page is still there")
	}
}

func TestTheHealthcheck(t *testing.T) {
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1"))
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the data path does not run", http.StatusServiceUnavailable)
	}))
	defer sick.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()

	tests := []struct {
		name, http string
		code       int
		says       string
	}{
		{"alive", strings.TrimPrefix(r.page, "http://"), 0, ""},
		{"sick", sick.Listener.Addr().String(), 1, "/healthz: 503 Service Unavailable: the data path does not run"},
		{"not there", gone.Addr().String(), 1, "no balancer answers at http://" + gone.Addr().String()},
		{"off", "", 2, `BALANCER_HTTP="": want an address`},
		{"wrong", "here", 2, `BALANCER_HTTP="here": want `},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), []string{"healthcheck"}, []string{"BALANCER_HTTP=" + test.http, "BALANCER_HTTP_HOSTS=balancer,localhost,127.0.0.1"}, &out)
			if code := program.ExitCode(err); code != test.code {
				t.Errorf("exit code %d: %v", code, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v, want one line with %q", err, test.says)
			}
			if out.Len() > 0 {
				t.Errorf("stdout: %s", &out)
			}
		})
	}
	r.end()
}

// freePorts are a UDP and a TCP address on loopback that were free just now.
func freePorts(t *testing.T) (udp, tcp string) {
	t.Helper()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return u.LocalAddr().String(), l.Addr().String()
}

func TestABackendThatIsTheBalancerItselfIsRefused(t *testing.T) {
	udp, _ := freePorts(t)
	_, port, _ := net.SplitHostPort(udp)
	for _, listen := range []string{udp, ":" + port} {
		var out bytes.Buffer
		err := run(briefly(t), nil, []string{"BALANCER_LISTEN=" + listen, "BALANCER_HTTP=", "BALANCER_BACKENDS=a=127.0.0.1:9,b=" + udp}, &out)
		want := fmt.Sprintf(`BALANCER_BACKENDS="b=%s": want another address than %[1]s, the balancer's own (BALANCER_LISTEN)`, udp)
		if err == nil || program.ExitCode(err) != 2 || err.Error() != want || out.Len() > 0 {
			t.Errorf("listening on %s: error %v, stdout %s", listen, err, &out)
		}
	}
}

func TestBothPortsInUseAreToldAtOnce(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(briefly(t), nil, []string{"BALANCER_LISTEN=" + u.LocalAddr().String(), "BALANCER_HTTP=" + l.Addr().String()}, io.Discard)
	if err == nil || program.ExitCode(err) != 2 {
		t.Fatalf("error %v, exit code %d", err, program.ExitCode(err))
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "BALANCER_LISTEN=") || !strings.HasPrefix(lines[1], "BALANCER_HTTP=") {
		t.Errorf("%q", lines)
	}
}

func TestAPortInUseStopsTheStartAndLeavesNothingOpen(t *testing.T) {
	tests := []struct {
		name, variable string
		take           func(udp, tcp string) (io.Closer, error)
	}{
		{"the clients' port", "BALANCER_LISTEN", func(udp, _ string) (io.Closer, error) { return net.ListenPacket("udp", udp) }},
		{"the page's port", "BALANCER_HTTP", func(_, tcp string) (io.Closer, error) { return net.Listen("tcp", tcp) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			udp, tcp := freePorts(t)
			taken, err := test.take(udp, tcp)
			if err != nil {
				t.Fatal(err)
			}
			state := filepath.Join(t.TempDir(), "turns")
			var out bytes.Buffer
			err = run(briefly(t), nil, []string{"BALANCER_LISTEN=" + udp, "BALANCER_HTTP=" + tcp, "BALANCER_BACKENDS=127.0.0.1:9", "BALANCER_STATE_FILE=" + state}, &out)
			if err == nil || program.ExitCode(err) != 2 || !strings.HasPrefix(err.Error(), test.variable+"=") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, exit code %d", err, program.ExitCode(err))
			}
			if out.Len() > 0 {
				t.Errorf("stdout: %s", &out)
			}
			if _, err := os.Stat(state); err == nil {
				t.Error("there is a state file")
			}
			taken.Close()
			if u, err := net.ListenPacket("udp", udp); err != nil {
				t.Errorf("the clients' port is still open: %v", err)
			} else {
				u.Close()
			}
			if l, err := net.Listen("tcp", tcp); err != nil {
				t.Errorf("the page's port is still open: %v", err)
			} else {
				l.Close()
			}
		})
	}
}
