package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/integration/traffic"
	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		wrong      string // in the error; empty: none
		check      func(*settings) bool
	}{
		{"none: four cases, three rounds", "", "", func(c *settings) bool { return len(c.cases()) == 4 && c.Rounds == 3 }},
		{"one case", "--clients 7 --outstanding 2", "", func(c *settings) bool { return slices.Equal(c.cases(), []loadCase{{7, 2}}) }},
		{"quick is short", "--quick --duration 9s", "", func(c *settings) bool { return c.Rounds == 1 && c.Duration < time.Second }},
		{"some contestants", "--only pen,nginx", "", func(c *settings) bool {
			return c.wanted(pen) && c.wanted(nginxPerFlow) && c.wanted(nginxPerDatagram) && !c.wanted(udplab) && !c.wanted(direct)
		}},
		{"a whole name is no beginning", "--only udplab", "", func(c *settings) bool { return c.wanted(udplab) && !c.wanted(udplabPortable) }},
		{"the beginning of any word", "--only portable,relay", "", func(c *settings) bool { return c.wanted(udplabPortable) && c.wanted(relayInC) && !c.wanted(udplab) }},
		{"nobody of that name", "--only haproxy", `--only`, nil},
		{"outstanding for nobody", "--outstanding 64", "--outstanding", nil},
		{"more than there is room for", "--clients 20000 --outstanding 4096", "at most 1000000", nil},
		{"an older build without a path", "--also old", `--also="old": want NAME=PATH`, nil},
		{"an older build under a name that is taken", "--also pen=/tmp/b", "--also", nil},
		{"a namespace that is neither", "--netns maybe", `--netns="maybe": want auto, on or off`, nil},
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

// example is a report of two cases: without a balancer, our own and pen, which
// also failed once, and could not serve the other case.
func example() *report {
	r := &report{}
	lc := loadCase{1, 64}
	add := func(name string, scale float64, cpu time.Duration, p50 time.Duration) {
		r.add(name, lc, measurement{
			Counts: traffic.Counts{InTime: uint64(scale * 1000)}, took: time.Second, cpu: time.Duration(scale * float64(cpu)),
			p50: p50, p99: 2 * p50, others: 250 * time.Millisecond,
		}, nil)
	}
	for _, scale := range []float64{1, 3, 2} {
		add(direct, 4*scale, 0, 100*time.Microsecond)
		add(udplab, 3*scale, 2500*time.Microsecond, 200*time.Microsecond)
		add(pen, scale, 10*time.Millisecond, 400*time.Microsecond)
	}
	r.results[1].rounds[0].cpu *= 2
	r.results[2].rounds[0].Misrouted, r.results[2].rounds[0].Lost = 2, 10
	r.add(pen, lc, measurement{}, errors.New("it ended"))
	r.add(pen, loadCase{500, 1}, measurement{}, errors.New("it ended"))
	r.leaveOut("nginx per flow: nginx is not installed")
	r.leaveOut("nginx per flow: nginx is not installed")
	return r
}

func TestTheTableHasMediansAndRatios(t *testing.T) {
	var out strings.Builder
	if err := example().table(&out); err != nil {
		t.Fatal(err)
	}
	example().remarks(&out)
	const want = `
| clients × in flight | through | CPU µs/trip | least | most  | udplab ÷ it | trips/s | ÷ direct | p50 µs | p99 µs | lost | B/session |
|---                  |---      |---          |---    |---    |---          |---      |---       |---     |---     |---   |---        |
| 1 × 64              | direct  | –           | –     | –     | –           | 8000    | 1.00     | 100.0  | 200.0  | 0    | –         |
| 1 × 64              | udplab  | 2.50        | 2.50  | 5.00  | 1.00        | 6000    | 0.75     | 200.0  | 400.0  | 0    | –         |
| 1 × 64              | pen     | 10.00       | 10.00 | 10.00 | 0.25        | 2000    | 0.25     | 400.0  | 800.0  | 10   | –         |
| 500 × 1             | pen     | failed      | –     | –     | –           | –       | –        | –      | –      | –    | –         |
1 × 64, pen: replies late 0, duplicate 0, to another client's datagram 2, to none 0; clients without any reply 0
1 × 64, pen failed: it ended
500 × 1, pen failed: it ended
left out: nginx per flow: nginx is not installed
other programs used up to 0.25 of these cores while something was measured
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", &out, want)
	}
}

func TestAMeasurementIsABenchmarkLine(t *testing.T) {
	m := measurement{
		Counts: traffic.Counts{InTime: 1000, Lost: 3}, took: 2 * time.Second, cpu: 5 * time.Millisecond,
		p50: 100 * time.Microsecond, p99: time.Millisecond, bytesPerSession: 1100,
	}
	const want = "BenchmarkRoundTrip/clients=10000/outstanding=1/through=udplab_portable\t1000\t500 trips/s\t100000 p50-ns\t1000000 p99-ns\t3 lost\t5000.0 cpu-ns/trip\t1100 B/session"
	if got := m.line(udplabPortable, loadCase{10_000, 1}); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOnlyOurOwnFailuresFailTheRun(t *testing.T) {
	r := example()
	if err := r.failed(); err != nil {
		t.Errorf("pen's failure fails the run: %v", err)
	}
	r.add(udplab, loadCase{1, 64}, measurement{orderViolations: 2}, nil)
	r.add("before", loadCase{1, 1}, measurement{}, errors.New("it ended"))
	err := r.failed()
	if err == nil || !strings.Contains(err.Error(), "udplab: 2 order violations") || !strings.Contains(err.Error(), "before: it ended") {
		t.Errorf("%v", err)
	}
}
