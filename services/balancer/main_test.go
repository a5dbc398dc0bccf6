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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/datapath"
	"udplab/services/kit/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout is how long a test waits for what must come: so long that a busy
// machine makes no test fail.
const timeout = time.Minute

// nowhere is a host whose name does not resolve: no name server is asked for it
// (RFC 7686).
const nowhere = "nowhere.onion"

// startServers starts servers on loopback and returns them as
// BALANCER_BACKENDS has them.
func startServers(t *testing.T, names ...string) string {
	t.Helper()
	var list []string
	for _, name := range names {
		addr, _ := startServer(t, name)
		list = append(list, name+"="+addr)
	}
	return strings.Join(list, ",")
}

// startServer starts a server that answers in upper case with its name, unless it
// is silent.
func startServer(t *testing.T, name string) (addr string, silent *atomic.Bool) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent = new(atomic.Bool)
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if !silent.Load() {
				conn.WriteTo(append(bytes.ToUpper(buf[:n]), " "+name...), from)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	return conn.LocalAddr().String(), silent
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

// start runs a balancer and waits until it listens. Its turns wait for an answer
// for longer than any test.
func start(t *testing.T, environ ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t: t, stop: stop, result: make(chan error, 1), lines: make(chan line, 1000)}
	ended := make(chan struct{})
	t.Cleanup(func() {
		stop()
		for range r.lines {
		}
		<-ended
	})
	environ = append([]string{"BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_ANSWER_TIMEOUT=1m", "LOG_FORMAT=json"}, environ...)
	reader, writer := io.Pipe()
	go func() {
		defer close(ended)
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
	case <-time.After(timeout):
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

// client is a socket that sends to the balancer.
func (r *running) client() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("udp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// ping sends datagrams one by one from one socket and wants answers from the
// servers in this order.
func (r *running) ping(order string) {
	r.t.Helper()
	conn, buf := r.client(), make([]byte, 65536)
	conn.SetDeadline(time.Now().Add(timeout))
	for i, server := range order {
		fmt.Fprintf(conn, "ping %d", i+1)
		n, err := conn.Read(buf)
		if want := fmt.Sprintf("PING %d server%c", i+1, server); err != nil || string(buf[:n]) != want {
			r.t.Fatalf("answer %q, want %q: %v", buf[:n], want, err)
		}
	}
}

var direct = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get is a page of the balancer; of an endless one, its first event.
func (r *running) get(path string) string {
	r.t.Helper()
	answer, err := direct.Get(r.page + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	var text strings.Builder
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && path == "/events" {
			return data
		}
		fmt.Fprintln(&text, lines.Text())
	}
	return text.String()
}

// shows wants pages to contain texts.
func (r *running) shows(pages map[string][]string) {
	r.t.Helper()
	for path, texts := range pages {
		page := r.get(path)
		for _, text := range texts {
			if !strings.Contains(page, text) {
				r.t.Errorf("%s does not say %q:\n%s", path, text, page)
			}
		}
	}
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, come func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !come(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not yet %s", timeout, what)
		}
	}
}

func TestARunFromItsStartToItsSummary(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "turns")
	if err := os.WriteFile(foreign, []byte("my thesis"), 0o600); err != nil {
		t.Fatal(err)
	}
	servers := startServers(t, "server1", "server2", "server3")
	r := start(t, "BALANCER_BACKENDS="+servers, "BALANCER_UNKNOWN=1", "OTHER=x", "BALANCER_STATE_FILE="+foreign)
	warnings := []string{"BALANCER_UNKNOWN", foreign + " is not ours and is left alone"}
	if !slices.EqualFunc(r.before, warnings, func(l line, want string) bool {
		return l.text("level") == "WARN" && strings.Contains(l.text("msg"), want)
	}) {
		t.Errorf("before it listens it says %v, want warnings about %q", r.before, warnings)
	}
	for i, server := range strings.Split(servers, ",") {
		name, addr, _ := strings.Cut(server, "=")
		if got, want := r.next().text("msg"), fmt.Sprintf("turn %d: %s at %s", i+1, name, addr); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}

	r.ping("1231231231")
	r.shows(map[string][]string{"/healthz": {"alive\n"}, "/readyz": {"ready\n"}, "/api/status": {`"turns": 10`}, "/": {"Servers in turn order"}})

	rest := r.end()
	if len(rest) != 11 {
		t.Fatalf("%d lines, want ten turns and the summary: %v", len(rest), rest)
	}
	for i, l := range rest[:10] {
		if l["turn"] != float64(i+1) || l["outcome"] != "answered" || l["server"] != fmt.Sprintf("server%d", i%3+1) {
			t.Errorf("line %v, want that of turn %d", l, i+1)
		}
	}
	last := rest[10]
	if want := "stopped: 10 received, 10 forwarded, 10 replied, 0 dropped; the next turn is server2's"; last.text("msg") != want || last["received"] != 10.0 || last["dropped"] != 0.0 {
		t.Errorf("the last line is %v, want %q", last, want)
	}
	if kept, _ := os.ReadFile(foreign); string(kept) != "my thesis" {
		t.Errorf("the file holds %q", kept)
	}
}

func TestWhatHappensToAServerIsSeenEverywhere(t *testing.T) {
	addr, silent := startServer(t, "server2")
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1")+",server2="+addr, "BALANCER_PROBE=healthcheck",
		"BALANCER_PROBE_INTERVAL=20ms", "BALANCER_PROBE_TIMEOUT=1s", "BALANCER_PROBE_FALL=2")
	for _, step := range []struct {
		silent        bool
		log, up, news string
	}{
		{true, "server2 down: 2 probes in a row unanswered; its turns go to the next server", "0", "server2 is down: 2 probes in a row unanswered; its turns go to the next server"},
		{false, "server2 up", "1", "server2 is up and has its turns again"},
	} {
		silent.Store(step.silent)
		for r.next().text("msg") != step.log {
		}
		r.shows(map[string][]string{
			"/metrics": {`balancer_backend_up{backend="server2"} ` + step.up + "\n", `balancer_backend_transitions_total{backend="server2",to="down"} 1` + "\n"},
			"/events":  {step.news},
		})
	}
	r.end()
}

func TestTheClientRateIsObeyedAndTold(t *testing.T) {
	const sent, limit = 100, 3
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1"), fmt.Sprint("BALANCER_CLIENT_RATE=", limit))
	conn, began := r.client(), time.Now()
	for range sent {
		conn.Write([]byte("as fast as I can"))
	}
	eventually(t, "all received", func() bool { return strings.Contains(r.get("/api/status"), fmt.Sprintf(`"received": %d`, sent)) })
	metrics, rest := r.get("/metrics"), r.end()
	last := rest[len(rest)-1]
	refused, _ := last["dropped_client_rate"].(float64)
	if least := sent - limit*(1+time.Since(began).Seconds()); refused > sent-limit || refused < least {
		t.Errorf("%v refused of %d, want %.1f to %d", refused, sent, least, sent-limit)
	}
	if !strings.Contains(last.text("msg"), fmt.Sprintf("(client_rate %v)", refused)) || !strings.Contains(metrics, fmt.Sprintf(`balancer_dropped_total{reason="client_rate"} %v`+"\n", refused)) {
		t.Errorf("%v refused, the summary is %v, the metrics\n%s", refused, last, metrics)
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

func TestServersWhoseNamesDoNotResolve(t *testing.T) {
	if testing.Short() {
		t.Skip("the start waits for names for three seconds")
	}
	t.Run("one: it is down and the others serve", func(t *testing.T) {
		t.Parallel()
		server1, server3 := startServers(t, "server1"), startServers(t, "server3")
		r := start(t, "BALANCER_BACKENDS="+server1+",server2="+nowhere+":2527,"+server3)
		for _, want := range []string{
			"turn 1: " + strings.Replace(server1, "=", " at ", 1),
			"turn 2: server2, once " + nowhere + " resolves",
			"turn 3: " + strings.Replace(server3, "=", " at ", 1),
			"server2 down: its name does not resolve: ",
		} {
			if l := r.next(); !strings.HasPrefix(l.text("msg"), want) || strings.Contains(fmt.Sprint(l), "invalid AddrPort") {
				t.Errorf("it says %v, want %q", l, want)
			}
		}
		r.ping("13131")
		r.shows(map[string][]string{"/readyz": {"ready\n"}, "/api/status": {`"reason": "its name does not resolve: `, `"addr": null`}})
		r.end()
	})
	t.Run("all: the balancer is alive and not ready", func(t *testing.T) {
		t.Parallel()
		r := start(t, "BALANCER_BACKENDS=a="+nowhere+":1,b="+nowhere+":2")
		r.shows(map[string][]string{"/healthz": {"alive\n"}, "/readyz": {"no server is up\n"}})
		r.client().Write([]byte("to nobody"))
		eventually(t, "it is received", func() bool { return strings.Contains(r.get("/api/status"), `"received": 1`) })
		rest := r.end()
		want := "stopped: 1 received, 0 forwarded, 0 replied, 1 dropped (no_backend 1); no server is up"
		if last := rest[len(rest)-1].text("msg"); last != want {
			t.Errorf("the last line is %q, want %q", last, want)
		}
	})
}

// dying is a data path that fails once it runs.
type dying struct {
	datapath.DataPath
	err error
}

func (d dying) Run(context.Context) error { return errors.Join(d.err, d.Close()) }

func TestADataPathThatDiesEndsTheBalancer(t *testing.T) {
	cfg, _, err := load(nil, []string{"BALANCER_BACKENDS=127.0.0.1:9", "BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_STATE_FILE=" + filepath.Join(t.TempDir(), "turns")})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b, err := open(t.Context(), cfg, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if !b.members.IsSelf(b.path.Addr()) {
		t.Errorf("a server may be at %v, where the balancer listens", b.path.Addr())
	}
	broken := errors.New("the listener broke")
	b.path = dying{b.path, broken}
	if err := b.serve(t.Context()); !errors.Is(err, broken) || program.ExitCode(err) != 1 {
		t.Errorf("returned %v, exit code %d", err, program.ExitCode(err))
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); !strings.Contains(lines[len(lines)-1], "stopped: ") {
		t.Errorf("the last line is no summary:\n%s", &out)
	}
	if _, err := b.page.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the page is still there: %v", err)
	}
}

func TestTheHealthcheck(t *testing.T) {
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1"))
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the data path does not run", http.StatusServiceUnavailable)
	}))
	defer sick.Close()
	gone := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer gone.Close()
	for _, tt := range []struct {
		name, http string
		code       int
		says       string
	}{
		{"alive", strings.TrimPrefix(r.page, "http://"), 0, ""},
		{"sick", sick.Listener.Addr().String(), 1, "/healthz: 503 Service Unavailable: the data path does not run"},
		{"silent", gone.Listener.Addr().String(), 1, "no balancer answers at " + gone.URL},
		{"off", "", 2, `BALANCER_HTTP="": want an address`},
		{"wrong", "here", 2, `BALANCER_HTTP="here": want `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), []string{"healthcheck"}, []string{"BALANCER_HTTP=" + tt.http, "BALANCER_HTTP_HOSTS=balancer,localhost,127.0.0.1"}, &out)
			if code := program.ExitCode(err); code != tt.code || out.Len() > 0 {
				t.Errorf("exit code %d: %v, stdout %s", code, err, &out)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v, want one line with %q", err, tt.says)
			}
		})
	}
	r.end()
}

func TestPortsInUseAreToldAtOnceAndNothingIsLeftOpen(t *testing.T) {
	state := filepath.Join(t.TempDir(), "turns")
	udp, _ := startServer(t, "other")
	page, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	tcp := page.Addr().String()
	for _, tt := range []struct {
		udp, tcp string
		want     []string
	}{
		{udp, "127.0.0.1:0", []string{"BALANCER_LISTEN="}},
		{"127.0.0.1:0", tcp, []string{"BALANCER_HTTP="}},
		{udp, tcp, []string{"BALANCER_LISTEN=", "BALANCER_HTTP="}},
	} {
		cfg, _, err := load(nil, []string{"BALANCER_LISTEN=" + tt.udp, "BALANCER_HTTP=" + tt.tcp, "BALANCER_BACKENDS=127.0.0.1:9", "BALANCER_STATE_FILE=" + state})
		if err != nil {
			t.Fatal(err)
		}
		before := openFiles()
		_, err = open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if lines := strings.Split(fmt.Sprint(err), "\n"); program.ExitCode(err) != 2 || !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
			t.Errorf("returned %v, want %q", err, tt.want)
		}
		if _, err := os.Stat(state); err == nil {
			t.Error("there is a state file")
		}
		eventually(t, "no more files are open than before", func() bool { return openFiles() <= before })
	}
}

// openFiles counts this process's open files where the system shows them.
func openFiles() int {
	files, _ := os.ReadDir("/proc/self/fd")
	return len(files)
}
