package main

import (
	"bufio"
	"bytes"
	"context"
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
)

// beMain makes this test binary the benchmark itself: a benchmark moves its
// process to one core and starts it anew in a namespace.
const beMain = "UDPLAB_BENCH_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		main()
	}
	os.Exit(m.Run())
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

func TestAShortRunMeasuresWhatIsThere(t *testing.T) {
	cmd := benchmark(t, "--quick", "--clients", "2", "--outstanding", "16")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, &stderr)
	}
	for _, name := range contestantNames {
		line := fmt.Sprintf(`(?m)^BenchmarkRoundTrip/clients=2/outstanding=16/through=%s\t[1-9]\d*\t[1-9]\d* trips/s\t[1-9]\d* p50-ns\t[1-9]\d* p99-ns\t\d+ lost`,
			strings.ReplaceAll(name, " ", "_"))
		if name != direct {
			line += `\t[1-9][0-9.]* cpu-ns/trip$`
		}
		switch {
		case regexp.MustCompile(line).Match(stdout) && bytes.Contains(stdout, []byte("| 2 × 16              | "+name+" ")):
		case !ours(name) && bytes.Contains(stdout, []byte("left out: "+name+": ")):
		default:
			t.Errorf("%s is neither measured nor left out\n%s", name, stdout)
		}
	}
}

func TestAnInterruptedRunPrintsWhatItHasAndLeavesNothing(t *testing.T) {
	cmd := benchmark(t, "--duration", "1s", "--clients", "1", "--only", "direct,udplab")
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
		if strings.Contains(lines.Text(), "round 2 of 3") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // its code is looked at below
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stdout.String(), "\n| 1 × 1               | udplab ") {
		t.Errorf("ended with %v, want exit code 1 and the first round's figures\n%s", cmd.ProcessState, &stdout)
	}
}

func TestOlderBuildsStandBesideOurs(t *testing.T) {
	cfg, err := load([]string{"--only", "direct,udplab,relay", "--also", "old=/tmp/old,older=/tmp/older", "--balancer", "/tmp/new"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := contestants(t.Context(), cfg, t.TempDir(), 1000)
	var names []string
	for _, c := range list {
		names = append(names, c.name)
	}
	if got := strings.Join(names, ","); err != nil || got != "direct,udplab,old,older,relay in C" {
		t.Fatalf("%s (%v)", got, err)
	}
	cmd, err := list[2].command(netip.MustParseAddrPort("127.0.0.1:8888"), netip.MustParseAddrPort("127.0.0.1:80"), []string{"127.0.0.1:1", "127.0.0.1:2"})
	if err != nil || cmd.Path != "/tmp/old" || !strings.Contains(strings.Join(cmd.Env, " "), "BALANCER_BACKENDS=127.0.0.1:1,127.0.0.1:2 BALANCER_DATAPATH=epoll ") {
		t.Errorf("the older build is run as %v with %v (%v)", cmd, cmd.Env, err)
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
	core, _, err := cores()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(context.Background(), "grep", "Cpus_allowed_list", "/proc/self/status")
	cmd.Stdout = &out
	before, err := affinity()
	if err != nil {
		t.Fatal(err)
	}
	if err := startOn(core, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if set, err := affinity(); err != nil || set != before {
		t.Errorf("we are on %v now, %v", set, err)
	}
	if _, list, _ := strings.Cut(out.String(), ":"); strings.TrimSpace(list) != fmt.Sprint(core) {
		t.Errorf("the child may run on cores %s, want %d", list, core)
	}
}

func TestQuantilesOfASample(t *testing.T) {
	var s sample
	if got := s.quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 3 * sampleSize {
		s.add(time.Duration(i))
	}
	if len(s.kept) != sampleSize {
		t.Errorf("%d are kept, want %d", len(s.kept), sampleSize)
	}
	s.kept = []time.Duration{1, 2, 3, 4, 5}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 5} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
