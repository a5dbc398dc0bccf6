package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
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
// writes.
func benchmark(ctx context.Context, t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and measures for some seconds: not with -short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	cmd = exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), beMain+"=1", "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, dir
}

// nothingIsLeft fails the test if the benchmark has left files in its
// directory, or a process that was started from there.
func nothingIsLeft(t *testing.T, dir string) {
	t.Helper()
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(dir)) {
			t.Errorf("%s is left: %q", file, text)
		}
	}
}

func TestAShortRunMeasuresWhatIsThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd, dir := benchmark(ctx, t, "--quick", "--json", "--clients", "2", "--outstanding", "16")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	nothingIsLeft(t, dir)
	var r report
	if err := json.Unmarshal(stdout, &r); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if len(r.Cases) != 1 || r.Machine.Cores == 0 || r.Rounds != 1 {
		t.Fatalf("%s", stdout)
	}
	for _, name := range contestantNames {
		row := r.Cases[0].row(name)
		if row == nil {
			if !strings.Contains(strings.Join(r.LeftOut, "\n"), name+": ") {
				t.Errorf("%s is missing, and nobody says why", name)
			}
			continue
		}
		t.Logf("%s: %.2f µs, %.0f round trips/s", name, row.CPU.Median, row.Throughput.Median)
		if len(row.Failures) > 0 || row.Throughput.Median == 0 || row.P50.Median == 0 || row.P99.Median < row.P50.Median {
			t.Errorf("%s: %+v", name, row)
		}
		if (row.CPU.Median > 0) != (name != direct) {
			t.Errorf("%s: %v µs for each round trip", name, row.CPU.Median)
		}
		if row.Counts.Misrouted > 0 && name != pen {
			t.Errorf("%s: %d misrouted", name, row.Counts.Misrouted)
		}
	}
	for _, name := range []string{direct, udplab, udplabPortable} {
		if r.Cases[0].row(name) == nil {
			t.Errorf("%s is left out", name)
		}
	}
	if ours := r.Cases[0].row(udplab); ours != nil && (ours.OrderViolations == nil || *ours.OrderViolations != 0 || ours.DataPath != "epoll") {
		t.Errorf("our own: %+v", ours)
	}
}

func TestAnInterruptedRunPrintsWhatItHasAndLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd, dir := benchmark(ctx, t, "--duration", "1s", "--clients", "1", "--only", "direct,udplab")
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
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("ended with %v, want exit code 1", cmd.ProcessState)
	}
	if !strings.Contains(stdout.String(), "\nudplab ") {
		t.Errorf("the first round's figures are not there:\n%s", &stdout)
	}
	nothingIsLeft(t, dir)
}

// unfaithful answers datagrams in a server's and a balancer's stead: of ten it
// loses one, answers one twice and gives one to the client before.
func unfaithful(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	var before netip.AddrPort
	for i := 0; ; i++ {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed
		}
		to, times := from, 1
		switch i % 10 {
		case 3:
			times = 0
		case 5:
			times = 2
		case 7:
			if before.IsValid() && before != from {
				to = before
			}
		}
		before = from
		for range times {
			_, _ = conn.WriteToUDPAddrPort(buf[:n], to) // a loss is a loss
		}
	}
}

func TestLossDoublesAndMisroutedAnswersAreCounted(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); unfaithful(conn) }()
	defer func() { conn.Close(); <-ended }()

	load, err := newTraffic(true)
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	if err := load.connect(loadCase{8, 2}, []netip.AddrPort{conn.LocalAddr().(*net.UDPAddr).AddrPort()}); err != nil {
		t.Fatal(err)
	}
	load.patience = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seenAll := func(time.Duration) bool {
		c := load.counts
		return c.Answered > 1000 && c.Lost > 20 && c.Late > 20 && c.Misrouted > 20 && load.settled()
	}
	if err := load.run(ctx, seenAll); err != nil {
		t.Fatalf("%v: %+v", err, load.counts)
	}
	if load.trips.n != load.counts.Answered {
		t.Errorf("%d round trips for %d answers", load.trips.n, load.counts.Answered)
	}
}

func TestWithoutABalancerNothingIsLost(t *testing.T) {
	load, err := newTraffic(true)
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	if err := load.connect(loadCase{10, 8}, load.addrs()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := load.run(ctx, func(time.Duration) bool { return load.counts.Answered > 10_000 }); err != nil {
		t.Fatal(err)
	}
	if c := load.counts; c.Late != 0 || c.Misrouted != 0 || c.SendFailed != 0 || !load.settled() {
		t.Errorf("%+v", c)
	}
}

func TestProcessorTimeOfAProcessAndItsChildren(t *testing.T) {
	// The parent waits, the child works and then waits for its input to end.
	const work = `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; read end`
	parent := exec.Command("sh", "-c", `sh -c "$1"; :`, "sh", work)
	parent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); _ = parent.Wait() }() // "read" fails at the end of input
	if !bufio.NewScanner(stdout).Scan() {
		t.Fatal("the child did not come to its end")
	}
	pids, err := family(parent.Process.Pid)
	if err != nil || len(pids) != 2 || pids[0] != parent.Process.Pid {
		t.Fatalf("family of %d: %v, %v", parent.Process.Pid, pids, err)
	}
	alone, err := cpuTime(pids[:1])
	if err != nil {
		t.Fatal(err)
	}
	ran, err := cpuTime(pids)
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := tickTime(pids)
	if err != nil {
		t.Fatal(err)
	}
	if diff := (ran - ticks).Abs(); diff > 50*time.Millisecond || ran < 2*alone || ran < 20*time.Millisecond {
		t.Errorf("%v by schedstat (the parent %v), %v by utime and stime", ran, alone, ticks)
	}
}

func TestAProcessIsStartedOnItsCoreAndWeStayOnOurs(t *testing.T) {
	core, _, err := cores()
	if err != nil {
		t.Fatal(err)
	}
	before, err := affinity()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
	cmd.Stdout = &out
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
