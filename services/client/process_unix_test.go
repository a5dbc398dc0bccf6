//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// testTimeout is how long a test waits for what must come.
const testTimeout = time.Minute

// clientProcess is the client as a process of its own, with these variables and no
// other. It is killed after testTimeout.
func clientProcess(t *testing.T, environ []string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append([]string{asClient + "=1", "TZ=UTC"}, environ...)
	return cmd
}

// terminal is a pseudo-terminal in which a client runs.
type terminal struct {
	*testing.T
	cmd    *exec.Cmd
	tty    *os.File
	screen []byte // everything that the terminal was sent so far
	seen   int    // of it, how much has been waited for
}

// startInTerminal starts the client in a pseudo-terminal.
func startInTerminal(t *testing.T, environ []string, args ...string) *terminal {
	t.Helper()
	p := &terminal{T: t, cmd: clientProcess(t, environ, args...)}
	var err error
	if p.tty, err = pty.Start(p.cmd); err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	return p
}

// waitFor returns once the terminal shows the text behind what was seen; without a
// text, once the client has ended.
func (p *terminal) waitFor(text string) {
	p.Helper()
	for buf := make([]byte, 4096); ; {
		if i := bytes.Index(p.screen[p.seen:], []byte(text)); i >= 0 && text != "" {
			p.seen += i + len(text)
			return
		}
		n, err := p.tty.Read(buf)
		p.screen = append(p.screen, buf[:n]...)
		if err == nil {
			continue
		}
		if text != "" { // EIO or EOF: nobody has the terminal open any more
			p.Fatalf("the client ended before it showed %q:\n%s", text, p.screen)
		}
		return
	}
}

func (p *terminal) enter(keys string) {
	p.Helper()
	if _, err := io.WriteString(p.tty, keys); err != nil {
		p.Fatal(err)
	}
}

// waitForExit waits for the client's end, and returns everything that was on the screen,
// with the line ends of a file, and the exit code.
func (p *terminal) waitForExit() (screen string, code int) {
	p.Helper()
	p.waitFor("")
	p.cmd.Wait()
	p.tty.Close()
	return strings.ReplaceAll(string(p.screen), "\r\n", "\n"), p.cmd.ProcessState.ExitCode()
}

func TestTheMenuInATerminal(t *testing.T) {
	p := startInTerminal(t, []string{"TERM=dumb", "CLIENT_TIMEOUT=1m", "CLIENT_TARGET=" + serve(t)})
	p.waitFor("Your choice [2]: ")
	p.cmd.Process.Signal(syscall.SIGQUIT) // there is nothing to tell
	p.enter("1\n")
	p.waitFor("Your question [hello]: ")
	p.enter("WHO?\n")
	p.waitFor("answered by server1 in ")
	p.waitFor("Your choice [2]: ")
	p.enter("\x04") // Ctrl-D
	if screen, code := p.waitForExit(); code != 0 || !strings.HasPrefix(screen, menuText+"1\nYour question [hello]: WHO?\nWHO?\nanswered by") {
		t.Errorf("exit code %d\n%s", code, screen)
	}
}

func TestSIGQUITAndSIGINTInATerminal(t *testing.T) {
	// As signals: by their keys they would make the terminal throw away what it has not
	// shown yet (termios(3), NOFLSH).
	for _, tt := range []struct {
		name    string
		args    []string
		running string // what shows that it runs
		status  string // what SIGQUIT says
		summary string
	}{
		{"pings", []string{"-c", "0", "-i", "10ms", "-W", "1m"}, "seq=3", "pings answered so far, rtt min/avg/max = ", "--- 127.0.0.1 ping statistics ---"},
		{"a load", []string{"load", "--duration", "0", "-W", "1m"}, " answers/s, 0% lost, until Ctrl-C", "datagrams answered so far, ", "--- 127.0.0.1 load statistics ---"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startInTerminal(t, []string{"TERM=xterm", "CLIENT_TARGET=" + serve(t)}, tt.args...)
			p.waitFor(tt.running)
			p.cmd.Process.Signal(syscall.SIGQUIT)
			p.waitFor(tt.status)
			p.waitFor(tt.running[:3]) // it goes on
			p.cmd.Process.Signal(os.Interrupt)
			p.waitFor(tt.summary)
			if screen, code := p.waitForExit(); code != 0 || !strings.Contains(screen, " received, ") {
				t.Errorf("exit code %d\n%s", code, screen)
			}
		})
	}
}

func TestASecondCtrlCEndsItAtOnce(t *testing.T) {
	// A script's background jobs ignore SIGINT, and their children would inherit that;
	// of a signal that is caught they inherit the default.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt)
	defer signal.Stop(caught)
	// Nobody reads what the client says, so it can neither print its summary nor end by
	// itself.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fill(t, w)
	cmd := clientProcess(t, []string{"CLIENT_TARGET=" + serve(t), "CLIENT_RUNS=1"}, "-c", "0", "--json")
	cmd.Stdout = w
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(stderr).ReadString('\n') // a warning shows that it runs
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	for again := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-again.C:
			cmd.Process.Signal(os.Interrupt)
			continue
		case <-ended:
		}
		break
	}
	if how := cmd.ProcessState; how.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want by SIGINT", how)
	}
}

// fill writes to a pipe until it takes no more.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		for err = nil; err == nil; {
			raw.Write(func(fd uintptr) bool {
				_, err = syscall.Write(int(fd), make([]byte, size))
				return true
			})
		}
		if !errors.Is(err, syscall.EAGAIN) {
			t.Fatal(err)
		}
	}
}
