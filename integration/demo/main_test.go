package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// asDemo is a variable that makes a demonstration of the test's own binary.
const asDemo = "UDPLAB_TEST_IS_THE_DEMO"

func TestMain(m *testing.M) {
	if os.Getenv(asDemo) != "" {
		main()
	}
	os.Exit(m.Run())
}

// demo is one that runs, in a temporary directory of its own.
type demo struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	output *bufio.Reader // of stdout and stderr
	said   []byte        // read from it
	dir    string
}

// start starts the demonstration.
func start(t *testing.T, args ...string) *demo {
	t.Helper()
	if testing.Short() {
		t.Skip("building the programs takes more than a short test has")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lab.Patience) // its own build included
	d := &demo{t: t, dir: t.TempDir(), cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	d.cmd.Env = append(os.Environ(), asDemo+"=1", "TMPDIR="+d.dir, "TMP="+d.dir, "TEMP="+d.dir)
	stdin, err1 := d.cmd.StdinPipe()
	output, err2 := d.cmd.StdoutPipe()
	d.stdin, d.output, d.cmd.Stderr = stdin, bufio.NewReader(output), d.cmd.Stdout
	if err := errors.Join(err1, err2, d.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = d.cmd.Wait() // it may have been waited for
	})
	return d
}

// await reads on until the demonstration has printed a text.
func (d *demo) await(text string) {
	d.t.Helper()
	for !bytes.HasSuffix(d.said, []byte(text)) {
		c, err := d.output.ReadByte()
		if err != nil {
			d.t.Fatalf("it ended before it said %q\n%s", text, d.said)
		}
		d.said = append(d.said, c)
	}
}

// expectEnd waits until the demonstration has ended with the code, and wants
// nothing of it to be left.
func (d *demo) expectEnd(code int) {
	d.t.Helper()
	rest, err := io.ReadAll(d.output)
	if err != nil {
		d.t.Error(err)
	}
	d.said = append(d.said, rest...)
	_ = d.cmd.Wait() // its code is in ProcessState
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("exit %d, want %d\n%s", got, code, d.said)
	}
	if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
		d.t.Errorf("files left: %v, %v", left, err)
	}
	if left, err := lab.Programs(d.dir).Running(); err != nil || len(left) > 0 {
		d.t.Errorf("still running: %q (%v)", left, err)
	}
	for _, addr := range regexp.MustCompile(`listens on (\S+)`).FindAllSubmatch(d.said, -1) {
		if !lab.Free("udp", string(addr[1])) {
			d.t.Errorf("%s is still taken", addr[1])
		}
	}
}

// orders is who answered, run by run.
func (d *demo) orders() (orders []string) {
	for _, run := range strings.Split(string(d.said), "10 pings\n")[1:] {
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
	d.await(prompt)
	fmt.Fprintln(d.stdin)
	d.await(prompt)
	fmt.Fprintln(d.stdin, "q")
	d.expectEnd(0)
	if got := fmt.Sprint(d.orders()); got != "[1231231231 2312312312]" {
		t.Errorf("answers came from %s, want 1231231231 and 2312312312\n%s", got, d.said)
	}
	for _, wanted := range []string{"server1 listens on 127.0.0.1:", "server3 listens on ", "balancer listens on ", "page at http://127.0.0.1:"} {
		if !strings.Contains(string(d.said), wanted) {
			t.Errorf("it does not say %q\n%s", wanted, d.said)
		}
	}
}

func TestAnInterruptEndsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no interrupt that one process can send another")
	}
	t.Run("at the prompt", func(t *testing.T) {
		d := start(t)
		d.await(prompt)
		d.cmd.Process.Signal(os.Interrupt)
		d.expectEnd(0)
	})
	t.Run("in the middle of a run, which sums up", func(t *testing.T) {
		d := start(t)
		d.await("seq=2 ")
		d.cmd.Process.Signal(os.Interrupt)
		d.expectEnd(0)
		if out := string(d.said); strings.Count(out, "ping statistics") != 1 || strings.Contains(out, "seq=10 ") {
			t.Errorf("want a short run and its summary\n%s", out)
		}
	})
}

func TestNothingSurvivesItsViolentDeath(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("%s does not end processes with the one that started them", runtime.GOOS)
	}
	d := start(t)
	d.await(prompt)
	d.cmd.Process.Kill()
	// They die at once, but not in the same instant.
	labtest.Eventually(t, "its processes are gone", func(context.Context) error {
		left, err := lab.Programs(d.dir).Running()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("still running: %q", left)
		}
		return err
	})
}

func TestTakenPortsAreReplacedAndTheEndOfInputEndsIt(t *testing.T) {
	taken, err := net.ListenPacket("udp", usualServers[1])
	if err == nil {
		defer taken.Close()
	} // else somebody else has taken it for us
	d := start(t)
	d.stdin.Close()
	d.expectEnd(0)
	if want := "(" + usualServers[1] + " is taken)"; !strings.Contains(string(d.said), want) {
		t.Errorf("it does not say %s\n%s", want, d.said)
	}
	if got := fmt.Sprint(d.orders()); got != "[1231231231]" {
		t.Errorf("answers came from %s, want 1231231231\n%s", got, d.said)
	}
}

func TestItTakesNoArgument(t *testing.T) {
	d := start(t, "--fast")
	d.expectEnd(2)
	if got, want := string(d.said), `demo: argument="--fast": want no argument`+"\n"; got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
}
