package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// binary is the demonstration, which the first test builds.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "udplab-demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "demo.exe")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
})

// demo is one that runs, in a temporary directory of its own.
type demo struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	dir   string
	out   output
	ended chan struct{}
}

// start starts the demonstration.
func start(t *testing.T, args ...string) *demo {
	t.Helper()
	if testing.Short() {
		t.Skip("building the programs takes more than a short test has")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lab.Patience) // its own build included
	t.Cleanup(cancel)
	d := &demo{t: t, dir: t.TempDir(), ended: make(chan struct{})}
	d.cmd = exec.CommandContext(ctx, binary, args...)
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.dir, "TMP="+d.dir, "TEMP="+d.dir)
	d.out.wrote = make(chan struct{}, 1)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdin = stdin
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		_ = d.cmd.Wait() // the exit code is in d.cmd.ProcessState
	}()
	t.Cleanup(func() {
		cancel()
		<-d.ended
	})
	return d
}

// output is what is written so far.
type output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	wrote chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return o.bytes.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// await waits until the demonstration has printed a text so many times.
func (d *demo) await(text string, times int) {
	d.t.Helper()
	for strings.Count(d.out.String(), text) < times {
		select {
		case <-d.out.wrote:
		case <-d.ended:
			if strings.Count(d.out.String(), text) < times {
				d.t.Fatalf("ended with %v before it said %q %d times\n%s", d.cmd.ProcessState, text, times, &d.out)
			}
		}
	}
}

// expectEnd waits until the demonstration has ended with the code, and wants
// nothing of it to be left.
func (d *demo) expectEnd(code int) {
	d.t.Helper()
	<-d.ended
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("exit %d, want %d\n%s", got, code, &d.out)
	}
	if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
		d.t.Errorf("files left: %v, %v", left, err)
	}
	if left, err := lab.Programs(d.dir).Running(); err != nil || len(left) > 0 {
		d.t.Errorf("still running: %q (%v)", left, err)
	}
	for _, addr := range listening.FindAllStringSubmatch(d.out.String(), -1) {
		socket, err := net.ListenPacket("udp", addr[1])
		if err != nil {
			d.t.Errorf("%s is still taken: %v", addr[1], err)
			continue
		}
		socket.Close()
	}
}

var listening = regexp.MustCompile(`listens on (\S+)`)

// orders is who answered, run by run.
func (d *demo) orders() (orders []string) {
	for _, run := range strings.Split(d.out.String(), "10 pings\n")[1:] {
		order := ""
		for _, line := range regexp.MustCompile(`(?m)^server(\d)  seq=`).FindAllStringSubmatch(run, -1) {
			order += line[1]
		}
		orders = append(orders, order)
	}
	return orders
}

const prompt = "q to quit: "

func TestEnterIsAnotherRunAndQEndsIt(t *testing.T) {
	d := start(t)
	d.await(prompt, 1)
	fmt.Fprintln(d.stdin)
	d.await(prompt, 2)
	fmt.Fprintln(d.stdin, "q")
	d.expectEnd(0)
	if got := fmt.Sprint(d.orders()); got != "[1231231231 2312312312]" {
		t.Errorf("answers came from %s, want 1231231231 and 2312312312\n%s", got, &d.out)
	}
	for _, wanted := range []string{"server1 listens on 127.0.0.1:", "server3 listens on ", "balancer listens on ", "page at http://127.0.0.1:"} {
		if !strings.Contains(d.out.String(), wanted) {
			t.Errorf("it does not say %q\n%s", wanted, &d.out)
		}
	}
}

func TestTheEndOfInputEndsIt(t *testing.T) {
	d := start(t)
	d.stdin.Close()
	d.expectEnd(0)
	if got := d.orders(); len(got) != 1 {
		t.Errorf("%d runs, want one\n%s", len(got), &d.out)
	}
}

func TestAnInterruptEndsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no interrupt that one process can send another")
	}
	t.Run("at the prompt", func(t *testing.T) {
		d := start(t)
		d.await(prompt, 1)
		d.cmd.Process.Signal(os.Interrupt)
		d.expectEnd(0)
	})
	t.Run("in the middle of a run, which sums up", func(t *testing.T) {
		d := start(t)
		d.await("seq=2 ", 1)
		d.cmd.Process.Signal(os.Interrupt)
		d.expectEnd(0)
		if out := d.out.String(); strings.Count(out, "ping statistics") != 1 || strings.Contains(out, "seq=10 ") {
			t.Errorf("want a short run and its summary\n%s", out)
		}
	})
}

func TestNothingSurvivesItsViolentDeath(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("%s does not end processes with the one that started them", runtime.GOOS)
	}
	d := start(t)
	d.await(prompt, 1)
	d.cmd.Process.Kill()
	<-d.ended
	// They die at once, but not in the same instant.
	labtest.Eventually(t, "its processes are gone", func(context.Context) error {
		left, err := lab.Programs(d.dir).Running()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("still running: %q", left)
		}
		return err
	})
}

func TestUsualPortsThatAreTakenAreReplaced(t *testing.T) {
	taken, err := net.ListenPacket("udp", usualServers[1])
	if err == nil {
		defer taken.Close()
	} // else somebody else has taken it for us
	d := start(t)
	d.stdin.Close()
	d.expectEnd(0)
	if want := "(" + usualServers[1] + " is taken)"; !strings.Contains(d.out.String(), want) {
		t.Errorf("it does not say %s\n%s", want, &d.out)
	}
	if got := fmt.Sprint(d.orders()); got != "[1231231231]" {
		t.Errorf("answers came from %s, want 1231231231\n%s", got, &d.out)
	}
}

func TestItTakesNoArgument(t *testing.T) {
	d := start(t, "--fast")
	d.expectEnd(2)
	if got, want := d.out.String(), `demo: argument="--fast": want no argument`+"\n"; got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
}
