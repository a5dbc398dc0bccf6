package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

func TestTheSpreadOfWhatRoundsFound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		found []float64
		want  spread
	}{
		{"nothing", nil, spread{}},
		{"one round", []float64{7}, spread{7, 7, 7}},
		{"an odd number, in any order", []float64{9, 1, 4}, spread{4, 1, 9}},
		{"an even number has its median between the two in the middle", []float64{8, 1, 2, 4}, spread{3, 1, 8}},
		{"one outlier moves the median not at all", []float64{2, 2, 1000}, spread{2, 2, 1000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			given := slices.Clone(tt.found)
			if got := spreadOf(tt.found); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if !slices.Equal(tt.found, given) {
				t.Errorf("what was given is now %v", tt.found)
			}
		})
	}
}

func TestEveryDurationIsInAClassThatIsNarrowAndHoldsIt(t *testing.T) {
	last := -1
	for _, n := range []uint64{0, 1, 2, 127, 128, 255, 256, 511, 512, 1000, 41_000, 1e6, 1e9, 3600e9, math.MaxInt64} {
		c := class(n)
		low, high := bounds(c)
		if n < low || n >= high {
			t.Errorf("%d is in class %d, which is %d to %d", n, c, low, high)
		}
		if c <= last {
			t.Errorf("%d is in class %d, not after %d", n, c, last)
		}
		if last = c; high-low > 1 && float64(high-low) > 0.01*float64(low) {
			t.Errorf("class of %d is %d to %d: more than one percent wide", n, low, high)
		}
	}
	for c := range len(histogram{}.counts) - 1 {
		_, end := bounds(c)
		if next, _ := bounds(c + 1); end != next || class(end-1) != c || class(end) != c+1 {
			t.Fatalf("class %d ends before %d, the next begins at %d", c, end, next)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	h.add(-time.Second)
	if got := h.quantile(1); got != 0 {
		t.Errorf("a negative one counts as %v", got)
	}
	h.reset()
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 501, 0.99: 991, 1: 1000} {
		want *= time.Microsecond
		if got := h.quantile(q); math.Abs(float64(got-want)) > 0.01*float64(want) {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.add(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWhatProcSays(t *testing.T) {
	if got, err := schedstat("810329123 601838 21\n"); err != nil || got != 810329123 {
		t.Errorf("schedstat: %v, %v", got, err)
	}
	const stat = "4711 (a) name) S 42 4711 4711 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 12345 1000000 200\n"
	if got, err := parseStat(stat); err != nil || got != (processStat{42, 3 * time.Second}) {
		t.Errorf("stat: %+v, %v", got, err)
	}
	if got, err := residentBytes("Name:\tbalancer\nVmHWM:\t    9999 kB\nVmRSS:\t    1234 kB\n"); err != nil || got != 1234*1024 {
		t.Errorf("status: %v, %v", got, err)
	}
	const cores = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 100 10 50 7000 300 5 25 10 70 0\nintr 1\n"
	if got, err := coreBusy(cores, 1); err != nil || got != 2*time.Second {
		t.Errorf("core: %v, %v", got, err)
	}
	if got := cpuModel("processor\t: 0\nmodel name\t: Some CPU: fast\nprocessor\t: 1\n"); got != "Some CPU: fast" {
		t.Errorf("processor: %q", got)
	}
}

func TestGarbageUnderProcIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		parse func(string) error
		texts []string
	}{
		"schedstat": {func(s string) error { _, err := schedstat(s); return err }, []string{"", "1 2", "x 2 3", "-1 2 3", "1 2 3 4"}},
		"stat": {func(s string) error { _, err := parseStat(s); return err }, []string{
			"", ")", "1 (a) S", "1 (a) S x 3 4 5 6 7 8 9 10 11 12 13 14 15", "1 (a) S 1 3 4 5 6 7 8 9 10 11 x 13 14 15",
		}},
		"status": {func(s string) error { _, err := residentBytes(s); return err }, []string{"", "VmRSS: many kB", "VmHWM: 1 kB"}},
		"cores":  {func(s string) error { _, err := coreBusy(s, 1); return err }, []string{"", "cpu1 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu1 x 2 3 4 5 6 7 8"}},
	} {
		for _, text := range tt.texts {
			if tt.parse(text) == nil {
				t.Errorf("%s: %q passes", name, text)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		wrong      string // in the error; empty: none
		check      func(*settings) bool
	}{
		{"none: four cases, three rounds", "", "", func(c *settings) bool { return len(c.cases()) == 4 && c.Rounds == 3 }},
		{"one case", "--clients 7 --outstanding 2", "", func(c *settings) bool { return slices.Equal(c.cases(), []loadCase{{7, 2}}) }},
		{"one case, waiting clients", "--clients 7", "", func(c *settings) bool { return slices.Equal(c.cases(), []loadCase{{7, 1}}) }},
		{"quick is short", "--quick --duration 9s", "", func(c *settings) bool { return c.Rounds == 1 && c.Duration < time.Second }},
		{"quick is no longer than was asked", "--quick --duration 20ms", "", func(c *settings) bool { return c.Duration == 20*time.Millisecond }},
		{"some contestants", "--only pen,nginx", "", func(c *settings) bool {
			return c.wanted(pen) && c.wanted(nginxPerFlow) && c.wanted(nginxPerDatagram) && !c.wanted(udplab) && !c.wanted(direct)
		}},
		{"a whole name is no beginning", "--only udplab", "", func(c *settings) bool { return c.wanted(udplab) && !c.wanted(udplabPortable) }},
		{"the beginning of any word", "--only portable,relay", "", func(c *settings) bool { return c.wanted(udplabPortable) && c.wanted(relayInC) && !c.wanted(udplab) }},
		{"an older build, whoever else takes part", "--only direct --also old=/tmp/b", "", func(c *settings) bool {
			return c.wanted("old") && !c.wanted(udplab) && c.alsoPath("old") == "/tmp/b" && slices.Index(c.contestants(), "old") == 2
		}},
		{"an older build without a path", "--also old", `--also="old": want NAME=PATH`, nil},
		{"an older build under a name that is taken", "--also pen=/tmp/b", "--also", nil},
		{"nobody of that name", "--only haproxy", `--only`, nil},
		{"no rounds", "--rounds 0", `--rounds="0"`, nil},
		{"outstanding for nobody", "--outstanding 64", "--outstanding", nil},
		{"more than there is room for", "--clients 20000 --outstanding 4096", "at most 1,000,000", nil},
		{"two forms at once", "--json --markdown", "--markdown", nil},
		{"a namespace that is neither", "--netns maybe", `--netns="maybe": want auto, on or off`, nil},
		{"an argument", "now", "argument", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := load(strings.Fields(tt.args))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) || program.ExitCode(err) != 2 {
					t.Errorf("error %v, want one about %s", err, tt.wrong)
				}
				return
			}
			if err != nil || !tt.check(cfg) {
				t.Errorf("%+v, %v", cfg, err)
			}
		})
	}
	if _, err := load([]string{"-h"}); !errors.Is(err, config.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

var (
	here    = netip.MustParseAddrPort("127.0.0.1:8888")
	servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")}
)

func TestHowTheOthersAreConfigured(t *testing.T) {
	const both = `load_module /m.so;
daemon off;
master_process off;
worker_processes 1;
pid /d/nginx.pid;
error_log /d/error.log error;
worker_rlimit_nofile 1000;
events { worker_connections 2000; }
stream {
  upstream servers {
    server 127.0.0.1:1 max_fails=0;
    server 127.0.0.1:2 max_fails=0;
  }
  server {
    listen 127.0.0.1:8888 udp rcvbuf=4m sndbuf=4m;
    proxy_pass servers;
`
	if got, want := nginxConfig("/d", "/m.so", here, servers, false, 1000), both+"  }\n}\n"; got != want {
		t.Errorf("nginx per flow:\n%s", got)
	}
	if got, want := nginxConfig("/d", "/m.so", here, servers, true, 1000), both+"    proxy_requests 1;\n    proxy_responses 1;\n  }\n}\n"; got != want {
		t.Errorf("nginx per datagram:\n%s", got)
	}
	for _, tt := range []struct {
		name, want string
		got        []string
	}{
		{"pen with many files", "-f -U -r -c 20480 -x 20480 127.0.0.1:8888 127.0.0.1:1 127.0.0.1:2", penArguments(here, servers, 65536)},
		{"pen with few files", "-f -U -r -c 400 -x 400 127.0.0.1:8888 127.0.0.1:1 127.0.0.1:2", penArguments(here, servers, 1000)},
		{"the relay", "8888 1 2", relayArguments(here, servers, 0)},
		{"our own", "BALANCER_LISTEN=127.0.0.1:8888 BALANCER_HTTP=127.0.0.1:2 BALANCER_BACKENDS=127.0.0.1:1,127.0.0.1:2 BALANCER_DATAPATH=portable BALANCER_MAX_SESSIONS=20480",
			balancerEnvironment(here, servers[1], servers, "portable")},
	} {
		if got := strings.Join(tt.got, " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestWhatTheSystemDoesNotAllowIsNotTried(t *testing.T) {
	for _, tt := range []struct {
		name, contestant string
		limits           limits
		clients          int
		why              string // in the answer; empty: it can be tried
	}{
		{"few clients anywhere", udplabPortable, limits{1000, 28232}, 1, ""},
		{"our own clients need files too", direct, limits{1000, 28232}, 1000, "1,100 open files"},
		{"a socket for each client", udplab, limits{20000, 64512}, 10_000, ""},
		{"three sockets for each client", udplabPortable, limits{20000, 64512}, 10_000, "30,100 open files in one process, and 20,000"},
		{"enough files, not enough ports", udplabPortable, limits{65536, 28232}, 10_000, "40,100 ports, and there are 28,232"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.limits.refuse(tt.contestant, loadCase{tt.clients, 1})
			if (got == "") != (tt.why == "") || !strings.Contains(got, tt.why) {
				t.Errorf("%q, want something with %q", got, tt.why)
			}
		})
	}
}

// example is a report of one case: without a balancer, our own and pen, which
// also failed once.
func example() *report {
	r := &report{
		Machine: machineFacts{"Some CPU", 2, "Linux 6.1", "go1.26"}, Command: "go run ./integration/bench",
		Rounds: 3, Seconds: 3, Core: 1, Namespace: true, LeftOut: []string{},
	}
	lc := loadCase{1, 64}
	for _, scale := range []float64{1, 1.1, 0.9} {
		r.add(direct, lc, measurement{counts: counts{Answered: 1000}, Throughput: 400_000 * scale, P50: 130, P99: 160}, nil)
		r.add(udplab, lc, measurement{
			counts: counts{Answered: 1000}, Throughput: 300_000 * scale, CPU: 2.5 * scale, CPUTime: 1000, TickTime: 990, P50: 170, P99: 300, Cores: 0.95,
			Status: &balancerStatus{DataPath: "epoll", Sessions: 1},
		}, nil)
		r.add(pen, lc, measurement{counts: counts{Answered: 990, Lost: 10, Misrouted: 2}, Throughput: 100_000 * scale, CPU: 10 * scale, CPUTime: 1000, TickTime: 1010, P50: 500, P99: 1234, Cores: 1, Others: 0.25}, nil)
	}
	r.add(pen, lc, measurement{}, errors.New("it ended"))
	r.leaveOut("nginx per flow: nginx is not installed")
	r.leaveOut("nginx per flow: nginx is not installed")
	r.sumUp()
	return r
}

func TestTheTablesInATerminal(t *testing.T) {
	var out bytes.Buffer
	if err := example().text(&out); err != nil {
		t.Fatal(err)
	}
	const want = `Some CPU, cores: 2, Linux 6.1, go1.26
go run ./integration/bench
64-byte datagrams, loopback in a network namespace of its own, contestants on core 1, clients and servers on core 0; medians of 3 × 3 s (least–most)

1 client × 64
        CPU µs/trip  least–most                        trips/s       least–most  of its core  p50 µs  p99 µs      lost  ours ÷ theirs  ÷ direct
direct            –           –                        400,000  360,000–440,000            –     130     160         0              –         –
udplab         2.50   2.25–2.75  █████                 300,000  270,000–330,000         95 %     170     300         0              –      0.75
pen            10.0   9.00–11.0  ████████████████████  100,000   90,000–110,000        100 %     500   1,234  30 (1 %)           0.25      0.25
udplab: data path epoll, 0 order violations

1 client × 64: pen: 6 answers to another client's datagram
1 client × 64: pen failed: it ended
left out: nginx per flow: nginx is not installed
processor time is the scheduler's (schedstat); utime and stime say 1.000 × as much
other programs used up to 0.25 of these cores while something was measured
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", &out, want)
	}
}

func TestTheTablesOfTheReadme(t *testing.T) {
	var out bytes.Buffer
	if err := example().markdown(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| CPU of the balancer per round trip, µs | 1 client × 64 |\n|---|---|\n| direct | – |\n| udplab | 2.50 (2.25–2.75) |\n| pen | 10.0 (9.00–11.0); ours 0.25 × |\n\n",
		"| direct | 400,000 (360,000–440,000) |\n",
		"| pen | 100,000 (90,000–110,000); lost 30 (1 %) |\n",
		"| pen | 500 / 1,234 |\n",
		"- `go run ./integration/bench`\n",
		"- 1 client × 64: udplab: data path epoll, 0 order violations\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("printed\n%s\nwant %s", &out, line)
		}
	}
}

func TestTheDocumentForPrograms(t *testing.T) {
	text, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"left_out":["nginx per flow: nginx is not installed"]`, `"clients":1,"outstanding":64`, `"name":"udplab","rounds":3`,
		`"cpu_us":{"median":2.5,"min":2.25,"max":2.75}`, `"failures":["it ended"]`, `"order_violations":0`, `"misrouted":6`, `"udplab_cpu_ratio":null`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

func TestMemoryOfASessionIsToldOnlyWhereThereAreMany(t *testing.T) {
	for clients, told := range map[int]bool{500: false, 10_000: true} {
		r := &report{}
		r.add(udplab, loadCase{clients, 1}, measurement{MemoryPerSession: 1.5, Status: &balancerStatus{DataPath: "epoll"}}, nil)
		r.sumUp()
		if got := r.Cases[0].Rows[0].MemoryPerSession; (got != nil) != told || told && got.Median != 1.5 {
			t.Errorf("%d clients: %v", clients, got)
		}
		if line := r.Cases[0].ourselves()[0]; strings.Contains(line, "1.50 KiB of memory a session") != told {
			t.Errorf("%d clients: %s", clients, line)
		}
	}
}

func TestOneCoreIsNamedForWhatItIs(t *testing.T) {
	r := example()
	r.Core, r.Namespace = 0, false
	heading := strings.Join(r.heading(), "\n")
	if !strings.Contains(heading, "ONE core") || !strings.Contains(heading, "the machine's loopback") {
		t.Error(heading)
	}
}

func TestOnlyOurOwnFailuresFailTheRun(t *testing.T) {
	r := example()
	if err := r.failed(); err != nil {
		t.Errorf("pen's failure is taken for ours: %v", err)
	}
	r.add(udplab, loadCase{1, 64}, measurement{Status: &balancerStatus{OrderViolations: 2}}, nil)
	r.add(udplabPortable, loadCase{1, 1}, measurement{}, errors.New("it ended"))
	r.sumUp()
	err := r.failed()
	if err == nil || !strings.Contains(err.Error(), "udplab: 2 order violations") || !strings.Contains(err.Error(), "udplab portable: it ended") {
		t.Errorf("%v", err)
	}
}

func TestGrowthFrom500To10000Clients(t *testing.T) {
	r := &report{}
	r.add(udplab, loadCase{500, 1}, measurement{CPU: 8}, nil)
	r.sumUp()
	if g := r.growth(); g != nil {
		t.Errorf("%v without the larger case", *g)
	}
	r.add(udplab, loadCase{10_000, 1}, measurement{CPU: 12}, nil)
	r.sumUp()
	if g := r.growth(); g == nil || *g != 1.5 {
		t.Errorf("%v, want 1.5", g)
	}
}

func TestNumbersHaveThreeDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 2.547: "2.55", 9.99: "9.99", 10.04: "10.0", 123.4: "123", 1234.4: "1,234", 1234567: "1,234,567"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234: "-1,234", 1000000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	for _, tt := range []struct {
		value, most float64
		columns     int
	}{{0, 10, 0}, {10, 10, barWidth}, {5, 10, barWidth / 2}, {0.001, 10, 1}, {1, 0, 0}} {
		if got := strings.Count(bar(tt.value, tt.most), "█"); got != tt.columns {
			t.Errorf("%v of %v: %d columns, want %d", tt.value, tt.most, got, tt.columns)
		}
	}
}
