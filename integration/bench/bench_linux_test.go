package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

// beMain makes this test binary the benchmark itself: a benchmark runs itself
// again, on one core and in another network.
const beMain = "UDPLAB_BENCH_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		want       string // the contestants; or, if nothing is right, the beginning of the error
	}{
		{"none", "", "direct,udplab,udplab portable,nginx per datagram,nginx per flow,pen,relay in C"},
		{"some contestants", "--only pen,nginx", "nginx per datagram,nginx per flow,pen"},
		{"the beginning of any word", "--only portable,relay", "udplab portable,relay in C"},
		{"other builds", "--only direct --also old=/tmp/old,older=/tmp/older", "direct,old,older"},
		{"nobody of that name", "--only haproxy", `--only="haproxy": want the beginnings`},
		{"another build without a path", "--also old", `--also="old": want NAME=PATH`},
		{"another build under a name that is taken", "--also pen=/tmp/b", `--also="pen=/tmp/b": want NAME=PATH`},
		{"two other builds of one name", "--also a=/tmp/b,a=/tmp/c", `--also="a=/tmp/b,a=/tmp/c": want NAME=PATH`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := load(strings.Fields(tt.args))
			if err != nil {
				if !strings.HasPrefix(err.Error(), tt.want) || program.ExitCode(err) != 2 {
					t.Errorf("error %v, want %s", err, tt.want)
				}
				return
			}
			var names []string
			for _, c := range cfg.contestants() {
				names = append(names, c.name)
			}
			if got := strings.Join(names, ","); got != tt.want || cfg.Rounds != 3 || cfg.Duration != 3*time.Second {
				t.Errorf("%s, settings %+v, want %s", got, cfg, tt.want)
			}
		})
	}
	if cfg, err := load([]string{"--quick", "--duration", "9s"}); err != nil || cfg.Rounds != 1 || cfg.Duration >= time.Second {
		t.Errorf("--quick is %+v, %v", cfg, err)
	}
	if _, err := load([]string{"-h"}); !errors.Is(err, config.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

func TestAnotherBuildHasTheSettingsOfOurs(t *testing.T) {
	j := &job{bench: &bench{}, listen: netip.MustParseAddrPort("127.0.0.1:8888"), servers: []string{"127.0.0.1:1", "127.0.0.1:2"}}
	cmd, err := balancer("epoll", "/tmp/old")(j)
	if err != nil || cmd.String() != "/tmp/old" || !strings.Contains(strings.Join(cmd.Env, " "), "BALANCER_BACKENDS=127.0.0.1:1,127.0.0.1:2 BALANCER_DATAPATH=epoll ") {
		t.Errorf("%v with %v (%v)", cmd, cmd.Env, err)
	}
}

func TestAReportHasEveryMeasurementAndTheMedians(t *testing.T) {
	var out strings.Builder
	r := report{stdout: &out, stderr: &out, rounds: map[key][]figures{}}
	lc, other := loadCase{1, 64}, loadCase{10_000, 1}
	for _, scale := range []float64{1, 3, 2} {
		r.add(contestants[0], lc, figures{"trips": 5, "trips/s": 8000 * scale, "p50-ns": 1e5}, nil)
		r.add(contestants[1], lc, figures{"trips": 1000, "cpu-ns/trip": 2500 * scale, "trips/s": 6000 * scale, "p50-ns": 200_000.4, "p99-ns": 1e6, "lost": 3, "odd": 1, "violations": 0}, nil)
	}
	pen := contestant{name: "pen", sockets: 2}
	r.add(pen, lc, figures{"cpu-ns/trip": 4000, "trips/s": 4000, "p50-ns": 4e5}, nil)
	r.add(pen, lc, figures{"cpu-ns/trip": 6000, "trips/s": 4000, "p50-ns": 4e5}, nil)
	r.add(pen, lc, nil, errors.New("it ended"))
	r.add(contestants[1], other, figures{"cpu-ns/trip": 0}, nil)
	r.add(contestants[2], other, figures{"cpu-ns/trip": 1, "trips/s": 1, "B/session": 1100}, nil)
	if err := r.table(); err != nil || r.failed {
		t.Errorf("pen's failure fails the run: %v", err)
	}
	for _, want := range []string{
		"BenchmarkRoundTrip/clients=1/outstanding=64/through=udplab\t1000\t2500 cpu-ns/trip\t6000 trips/s\t200000 p50-ns\t1000000 p99-ns\t3 lost\t1 odd\t0 violations\n",
		"BenchmarkRoundTrip/clients=10000/outstanding=1/through=udplab_portable\t",
		"1 × 64, pen failed: it ended\n",
		`
clients × in flight  through          CPU µs/trip  ÷ udplab  trips/s  ÷ direct  p50 µs  B/session
1 × 64               direct           –            –         16000    1.00      100.0   –
1 × 64               udplab           5.00         1.00      12000    0.75      200.0   –
1 × 64               pen              5.00         1.00      4000     0.25      400.0   –
10000 × 1            udplab           0.00         –         –        –         –       –
10000 × 1            udplab portable  0.00         –         1        –         –       1100
`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed\n%s\nwithout\n%s", &out, want)
		}
	}
}

func TestOurOwnFailuresFailTheRun(t *testing.T) {
	for _, tt := range []struct {
		found figures
		err   error
		want  string
	}{
		{figures{"violations": 2}, nil, "2 order violations"},
		{nil, errors.New("it ended"), "it ended"},
	} {
		var out strings.Builder
		r := report{stdout: &out, stderr: &out}
		r.add(contestants[1], loadCase{1, 64}, tt.found, tt.err)
		if !r.failed || out.String() != "1 × 64, udplab failed: "+tt.want+"\n" {
			t.Errorf("failed %v, said %q, want %s", r.failed, &out, tt.want)
		}
	}
}

func TestWhatTheSystemDoesNotAllowIsNotTried(t *testing.T) {
	for _, tt := range []struct {
		name             string
		limits           limits
		sockets, clients int
		why              string // in the answer; empty: it can be tried
	}{
		{"few clients anywhere", limits{1000, 28232}, 3, 1, ""},
		{"exactly enough", limits{30_100, 40_100}, 3, 10_000, ""},
		{"the load's clients need files too", limits{1000, 28232}, 0, 1000, "1100 open files"},
		{"three sockets for each client", limits{20000, 64512}, 3, 10_000, "30100 open files in one process, and 20000"},
		{"enough files, not enough ports", limits{65536, 28232}, 3, 10_000, "40100 ports, and there are 28232"},
	} {
		got := tt.limits.refuse(contestant{sockets: tt.sockets}, loadCase{tt.clients, 1})
		if (got == "") != (tt.why == "") || !strings.Contains(got, tt.why) {
			t.Errorf("%s: %q, want something with %q", tt.name, got, tt.why)
		}
	}
}

func TestAProcessIsStartedOnItsCoreAndWeStayOnOurs(t *testing.T) {
	before, err := affinity()
	core := 0
	for !before.IsSet(core) && err == nil {
		core++
	}
	var out bytes.Buffer
	cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
	cmd.Stdout = &out
	if err := errors.Join(err, startOn(core, cmd), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if set, err := affinity(); err != nil || set != before {
		t.Errorf("we are on %v now, %v", set, err)
	}
	if _, list, _ := strings.Cut(out.String(), ":"); strings.TrimSpace(list) != fmt.Sprint(core) {
		t.Errorf("the child may run on cores %s, want %d", list, core)
	}
}

// benchmark is the benchmark, ready to run, with a directory for whatever it
// writes. After the test nothing may be left there, nor a process from there.
func benchmark(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and measures for some seconds: not with -short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), beMain+"=1", "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	t.Cleanup(func() {
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("files are left: %v, %v", files, err)
		}
		commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range commands {
			if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(dir)) {
				t.Errorf("%s is left: %q", file, text)
			}
		}
	})
	return cmd
}

func TestAQuickRunMeasuresWhatIsThere(t *testing.T) {
	cmd := benchmark(t, "--quick")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, &stderr)
	}
	for _, c := range contestants {
		line := `(?m)^BenchmarkRoundTrip/clients=1/outstanding=64/through=` + strings.ReplaceAll(c.name, " ", "_") + `\t[1-9]\d*\t`
		if c.name != direct {
			line += `\d+ cpu-ns/trip\t` // 0 if it was not let run meanwhile
		}
		line += `[1-9]\S* trips/s\t[1-9]\S* p50-ns\t[1-9]\S* p99-ns\t\S+ lost\t\S+ odd`
		switch {
		case regexp.MustCompile(line).Match(stdout) && bytes.Contains(stdout, []byte("\n1 × 64               "+c.name+" ")):
		case !c.ours && bytes.Contains(stdout, []byte("left out: "+c.name+": ")):
		default:
			t.Errorf("%s is neither measured nor left out\n%s%s", c.name, stdout, &stderr)
		}
	}
	if !regexp.MustCompile(`\t[1-9]\d* cpu-ns/trip\t`).Match(stdout) {
		t.Errorf("no contestant took any time\n%s", stdout)
	}
	if !regexp.MustCompile(`clients=10000/outstanding=1/through=udplab\t.* B/session|left out: 10000 × 1, udplab: `).Match(stdout) {
		t.Errorf("nobody knows what a session takes\n%s", stdout)
	}
}

func TestAnInterruptedRunPrintsWhatItHasAndLeavesNothing(t *testing.T) {
	cmd := benchmark(t, "--duration", "50ms", "--rounds", "1000", "--only", "direct,udplab")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if strings.Contains(lines.Text(), "500 × 1, udplab") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // its code is looked at below
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stdout.String(), "\n1 × 64               udplab ") {
		t.Errorf("ended with %v, want exit code 1 and the first case's figures\n%s", cmd.ProcessState, &stdout)
	}
}
