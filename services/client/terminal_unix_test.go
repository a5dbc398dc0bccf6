//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// clientProcess is the client as a process of its own, with these variables
// and no other.
func clientProcess(t *testing.T, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append([]string{asClient + "=1", "TZ=UTC"}, environ...)
	return cmd
}

// person sits at a terminal in which a client runs.
type person struct {
	*testing.T
	cmd    *exec.Cmd
	tty    *os.File
	screen []byte // everything that the terminal was sent so far
	from   int    // of it, what the person has not seen yet
	more   chan []byte
}

// sitDown starts the client in a pseudo-terminal.
func sitDown(t *testing.T, environ []string, args ...string) *person {
	t.Helper()
	p := &person{T: t, cmd: clientProcess(t, environ, args...), more: make(chan []byte)}
	var err error
	if p.tty, err = pty.Start(p.cmd); err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	go func() {
		defer close(p.more)
		for {
			buf := make([]byte, 4096)
			n, err := p.tty.Read(buf)
			if n > 0 {
				p.more <- buf[:n]
			}
			if err != nil { // EIO or EOF: nobody has the terminal open any more
				return
			}
		}
	}()
	return p
}

// waitsFor returns once the terminal shows the text behind what was seen.
func (p *person) waitsFor(text string) {
	p.Helper()
	limit := time.After(patience)
	for {
		if i := bytes.Index(p.screen[p.from:], []byte(text)); i >= 0 {
			p.from += i + len(text)
			return
		}
		select {
		case piece, ok := <-p.more:
			if !ok {
				p.cmd.Wait()
				p.Fatalf("the client ended (%v) before it showed %q:\n%s", p.cmd.ProcessState, text, p.screen)
			}
			p.screen = append(p.screen, piece...)
		case <-limit:
			p.Fatalf("%q is not shown:\n%s", text, p.screen)
		}
	}
}

func (p *person) types(keys string) {
	p.Helper()
	if _, err := io.WriteString(p.tty, keys); err != nil {
		p.Fatal(err)
	}
}

// leaves waits for the client's end, and returns everything that was on the
// screen, with the line ends of a file, and the exit code.
func (p *person) leaves() (screen string, code int) {
	p.Helper()
	limit := time.After(patience)
	for {
		select {
		case piece, ok := <-p.more:
			p.screen = append(p.screen, piece...)
			if ok {
				continue
			}
		case <-limit:
			p.Fatalf("the client does not end:\n%s", p.screen)
		}
		break
	}
	p.cmd.Wait()
	p.tty.Close()
	return strings.ReplaceAll(string(p.screen), "\r\n", "\n"), p.cmd.ProcessState.ExitCode()
}

// maskedLoad hides what differs from load to load.
func maskedLoad(text string) string {
	for _, m := range []struct{ pattern, with string }{
		{`\d+ sent, \d+ received, 0 lost, 0% loss`, "N sent, N received, 0 lost, 0% loss"},
		{`\d+(\.\d+)? answers a second`, "N answers a second"},
		{`= \d+\.\d{3}(/\d+\.\d{3})+ ms`, "= MS ms"},
		{`server(\d) ×\d+ \(33\.\d%\)`, "server$1 ×N (33%)"},
	} {
		text = regexp.MustCompile(m.pattern).ReplaceAllString(text, m.with)
	}
	return masked(text)
}

// threeServers answer in turn on a real socket.
func threeServers(t *testing.T) (target string) {
	t.Helper()
	return strings.ReplaceAll(serve(t, func(n int, request string) []string {
		return []string{fmt.Sprintf("%s server%d", upper(request), n%3+1)}
	}), " ", ":")
}

const wholeMenu = `What would you like to do?
  1) Ask the servers a question
  2) Send ten pings
  3) Send pings my way             (how many? how fast? how long to wait?)
  4) Whose turn is it?
  5) Load test
  6) Break something               (what to type to stop, pause or slow a server)
  0) Quit
Your choice [2]: `

// sitting is what the menu shows to somebody who asks, gets it wrong, asks a
// question, pings twice and leaves; with the menu itself as >.
const sitting = `
> ?1
  1) Sends your words to whoever has the turn; a server answers in capitals, with its name.
Your choice [2]: 8
There is no option "8": type one of the numbers above, Enter for 2, or ? for what they do.
Your choice [2]: 1
Your question [hello]: who are you?
WHO ARE YOU?
answered by server1 in MS ms

> 3
How many pings (0: until Ctrl-C, which also quits)? [10]: 4
How long from one to the next? [1ms]: soon
"soon" does not do: give a duration such as 200ms, 1.5s or 0.2 (seconds) from 0s up, or Enter for 1ms.
How long from one to the next? [1ms]: 0.001
How long to wait for an answer? [30s]: ` + `
PING 127.0.0.1 (ADDR): 4 pings
server2  seq=1  MS ms  PING 1 TIME
server3  seq=2  MS ms  PING 2 TIME
server1  seq=3  MS ms  PING 3 TIME
server2  seq=4  MS ms  PING 4 TIME
--- 127.0.0.1 ping statistics ---
4 sent, 4 received, 0% loss, time MS ms
rtt min/avg/max/mdev = MS/MS/MS/MS ms
answered by  server1 ×1  server2 ×2  server3 ×1
order        2 3  1 2        the balancer keeps counting: the next turn is expected to be server3's

> 4
The turn shows only by being taken: sending one ping.
It was server3's turn, and this ping has taken it. The next turn is expected to be server1's.

> ` // and the end of the input

// sittingTyped is what is typed in it, without the end.
var sittingTyped = []string{"?1", "8", "1", "who are you?", "3", "4", "soon", "0.001", "", "4"}

func TestTheMenuInATerminal(t *testing.T) {
	p := sitDown(t, []string{"TERM=dumb", "CLIENT_TARGET=" + threeServers(t), "CLIENT_INTERVAL=1ms", "CLIENT_TIMEOUT=30s"})
	for i, line := range sittingTyped {
		p.waitsFor("]: ")
		if i == 0 {
			p.cmd.Process.Signal(syscall.SIGQUIT) // there is nothing to tell
		}
		p.types(line + "\n")
	}
	p.waitsFor("Your choice [2]: ")
	p.types("\x04") // Ctrl-D
	screen, code := p.leaves()
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(screen, "\x1b") {
		t.Errorf("escapes for a dumb terminal: %q", screen)
	}
	same(t, "the screen", masked(strings.ReplaceAll(screen, wholeMenu, "> ")), sitting+"\n")
}

func TestTheMenuThroughAPipe(t *testing.T) {
	// A TERM that knows escapes is no reason to write them into a pipe.
	cmd := clientProcess(t, []string{"TERM=xterm", "CLIENT_TARGET=" + threeServers(t), "CLIENT_INTERVAL=1ms", "CLIENT_TIMEOUT=30s"}, "menu")
	cmd.Stdin = strings.NewReader(strings.Join(sittingTyped, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%v\n%s", err, &stderr)
	}
	if bytes.Contains(stdout, []byte("\x1b")) {
		t.Errorf("escapes in a pipe: %q", stdout)
	}
	same(t, "stdout", masked(strings.ReplaceAll(string(stdout), wholeMenu, "> ")), sitting+"\n")
}

func TestALoadInATerminalSaysInPlaceHowFarItIs(t *testing.T) {
	const want = `
LOAD 127.0.0.1 (ADDR): for 1.2s, 64 under way
--- 127.0.0.1 load statistics ---
N sent, N received, 0 lost, 0% loss, time MS ms
N answers a second
rtt min/avg/max = MS ms
rtt p50/p90/p99/p99.9 = MS ms
answered by  server1 ×N (33%)  server2 ×N (33%)  server3 ×N (33%)
order        not told: of many under way, answers come back in another order than the turns
`
	for _, tt := range []struct {
		name    string
		environ []string
		inPlace bool
	}{
		{"a terminal", []string{"TERM=xterm"}, true},
		{"NO_COLOR", []string{"TERM=xterm", "NO_COLOR=1"}, false},
		{"a dumb terminal", []string{"TERM=dumb"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := sitDown(t, tt.environ, "load", "--duration", "1.2", "-W", "30", threeServers(t))
			screen, code := p.leaves()
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := regexp.MustCompile(`\r\x1b\[K\d[^\r]* answers/s, 0% lost, 1 s left`).MatchString(screen); got != tt.inPlace {
				t.Errorf("in place: %v, want %v: %q", got, tt.inPlace, screen)
			}
			if !tt.inPlace && strings.Contains(screen, "\x1b") {
				t.Errorf("escapes: %q", screen)
			}
			same(t, "the screen", maskedLoad(shown(screen)), want)
		})
	}
}

func TestSIGQUITAndSIGINTInATerminal(t *testing.T) {
	// As signals: by their keys they would make the terminal throw away what it
	// has not shown yet (termios(3), NOFLSH).
	for _, tt := range []struct {
		name    string
		args    []string
		running string // what shows that it runs
		status  string // what SIGQUIT says
		summary string
	}{
		{"pings", []string{"-c", "0", "-i", "10ms"}, "seq=3", "pings answered so far, rtt min/avg/max = ", "--- 127.0.0.1 ping statistics ---"},
		{"a load", []string{"load", "--duration", "0"}, "answers/s", "datagrams answered so far, ", "--- 127.0.0.1 load statistics ---"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sitDown(t, []string{"TERM=xterm", "CLIENT_TARGET=" + threeServers(t)}, tt.args...)
			p.waitsFor(tt.running)
			p.cmd.Process.Signal(syscall.SIGQUIT)
			p.waitsFor(tt.status)
			p.waitsFor(tt.running[:3]) // it goes on
			p.cmd.Process.Signal(os.Interrupt)
			p.waitsFor(tt.summary)
			if screen, code := p.leaves(); code != 0 || !strings.Contains(screen, " received, ") {
				t.Errorf("exit code %d\n%s", code, screen)
			}
		})
	}
}

func TestASecondCtrlCEndsItAtOnce(t *testing.T) {
	// Nobody reads what the client says, so it can neither print its summary
	// nor end by itself.
	for _, args := range [][]string{{"-c", "0", "-i", "0", "--json"}, {"menu"}} {
		t.Run(args[0], func(t *testing.T) {
			cmd := clientProcess(t, []string{"CLIENT_TARGET=" + threeServers(t)}, args...)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			fill(t, w)
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			limit := time.After(patience)
			for again := time.NewTicker(50 * time.Millisecond); ; {
				select {
				case <-again.C:
					cmd.Process.Signal(os.Interrupt)
					continue
				case err := <-ended:
					var exit *exec.ExitError
					if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
						t.Errorf("it ended with %v, want by SIGINT", err)
					}
				case <-limit:
					cmd.Process.Kill()
					t.Error("it does not end")
				}
				return
			}
		})
	}
}

// fill writes to a pipe until it takes no more.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	for {
		w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			return
		}
	}
}
