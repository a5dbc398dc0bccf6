package integration

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// pattern says how commands of one kind are run. The first that matches a
// command counts.
type pattern struct {
	match string
	// in is the environment that the command needs; "": the one that is open.
	in environmentName
	// terminal is for a command that goes on while others are typed: the name of
	// the terminal that it has to itself. It prints ready when they may be.
	terminal, ready string
	// up names a server that the reader then waits for, until it is up.
	up string
	// ci is for what .ci/run runs: a part of its line.
	ci string
}

const (
	variables = `(?:\w+=\S+ )*`
	fromImage = `(?:GO_IMAGE=\$\(\./integration/goimage\) )?`
	compose   = `^` + variables + `docker compose (?:-f \S+ )*`
)

var patterns = []pattern{
	{match: `^go test `, ci: `go test -race -shuffle=on `},
	{match: `^go build work$`, ci: `go vet work`},
	{match: `^go run \./integration/(bench|soak)\b`, ci: `go run ./integration/$1 `},

	{match: `^` + fromImage + `docker compose up --build$`, in: containerLab, terminal: "up", ready: `exited with code 0`},
	{match: compose + `logs --follow `, in: containerLab, terminal: "log", ready: `balancer listens on`},
	{match: compose + `run .*\bclient .*--count 0\b`, in: containerLab, terminal: "client", ready: `seq=1 `},
	{match: compose + `up --detach --no-deps (?P<server>server\d)$`, in: containerLab, up: "$server"},
	{match: compose + `(up|run|stop|start|restart|pause|unpause|exec|logs|down)\b`, in: containerLab},

	{match: `^` + variables + `go run \./services/pingserver (?P<port>\d+)$`, in: processLab, terminal: "$port", ready: `listens on`},
	{match: `^` + variables + `go run \./services/balancer( 8888)?$`, in: processLab, terminal: "balancer", ready: `listens on`},
	{match: `^` + variables + `go run \./services/client\b`, in: processLab},

	{match: `^go run \./integration/demo$`},
	{match: `^sudo tcpdump `, terminal: "capture", ready: `listening on`},
	{match: `^python3 \w+\.py `},
	{match: `^curl -`},
}

// patternOf is how a command is run, its names filled in. ok is false for a
// command that no pattern matches.
func patternOf(line string) (p pattern, ok bool) {
	for _, p := range patterns {
		match := regexp.MustCompile(p.match)
		if found := match.FindStringSubmatchIndex(line); found != nil {
			for _, name := range []*string{&p.terminal, &p.up, &p.ci} {
				*name = string(match.ExpandString(nil, *name, line, found))
			}
			return p, true
		}
	}
	return pattern{}, false
}

func TestEveryCommandOfTheDocumentsIsRun(t *testing.T) {
	ci := readRoot(t, ".ci/run")
	lines := map[string][]string{}
	for _, d := range documents(t) {
		for _, s := range d.steps {
			c, ok := s.(command)
			if !ok {
				continue
			}
			lines[d.name] = append(lines[d.name], c.line)
			p, ok := patternOf(c.line)
			if !ok {
				t.Errorf("%s: no pattern says how to run this command: %s", c.at, c.line)
			}
			if p.ci != "" && !strings.Contains(ci, p.ci) {
				t.Errorf("%s: %s is left to .ci/run, which has no %q", c.at, c.line, p.ci)
			}
		}
	}
	if card := lines[lectureCard]; len(card) == 0 || !slices.Equal(card, lines["docs/lecture.md"]) {
		t.Errorf("%s has not the commands of the lecture, but\n%s", lectureCard, strings.Join(card, "\n"))
	}
}

// lectureCard repeats the commands of the lecture, which are run there.
const lectureCard = "docs/lecture-card.md"

// TestDocuments runs every document from its top to its end, as a reader would
// who types everything and looks whether it is so. All run at once: most of the
// time they wait for the next ping.
func TestDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("the documents take minutes")
	}
	var readers sync.WaitGroup
	for _, d := range documents(t) {
		if d.name == lectureCard {
			continue
		}
		readers.Go(func() {
			t.Run(d.name, func(t *testing.T) {
				r := &runner{t: t, dir: t.TempDir(), environments: map[environmentName]environment{}, terminals: map[string]*terminal{}}
				defer r.leave()
				for _, s := range d.steps {
					if r.run(s); t.Failed() {
						return // what follows depends on it
					}
				}
			})
		})
	}
	readers.Wait()
}

// runner runs the steps of one document.
type runner struct {
	t            *testing.T
	dir          string // of files copied from the document
	environments map[environmentName]environment
	in           environmentName // the one where commands run now
	terminals    map[string]*terminal
}

// longestCommand is how long a command may take: some build an image.
const longestCommand = 8 * time.Minute

// longTimeout is for clients of which the document shows no lost answer: on a
// busy machine an answer may take more than the usual second.
const longTimeout = "CLIENT_TIMEOUT=5s"

func (r *runner) run(s step) {
	switch s := s.(type) {
	case file:
		if err := os.WriteFile(filepath.Join(r.dir, s.name), []byte(s.content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	case look:
		r.look(s)
	case command:
		p, ok := patternOf(s.line)
		if !ok || p.ci != "" {
			return // see TestEveryCommandOfTheDocumentsIsRun
		}
		r.enter(cmp.Or(p.in, r.in, processLab))
		if p.terminal != "" {
			r.open(s, p)
		} else {
			exit, err := r.execute(s.line)
			r.compare(s, exit, err)
		}
		if p.up != "" {
			labtest.Eventually(r.t, p.up+" is up", func(context.Context) error {
				if status, _ := r.status(); !status.Backend(p.up).Up {
					return fmt.Errorf("the status is %+v", status)
				}
				return nil
			})
		}
	}
}

// enter goes to an environment, and makes it when it is first needed.
func (r *runner) enter(name environmentName) {
	if name == r.in {
		return
	}
	r.leave()
	if _, made := r.environments[name]; !made {
		r.environments[name] = newEnvironment[name](r.t)
	}
	r.in = name
}

// leave ends everything that runs, once it has asked whether all turns were in
// order.
func (r *runner) leave() {
	if r.in == "" {
		return
	}
	if status, ok := r.status(); ok {
		for _, problem := range status.Unbalanced() {
			r.t.Error(problem)
		}
	}
	for name := range r.terminals {
		r.close(name)
	}
}

// execute runs a command to its end. The error says why it could not run.
func (r *runner) execute(line string) (exit lab.Exit, err error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), longestCommand)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := r.shell(ctx, line)
	cmd.Env = append(cmd.Env, longTimeout)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	env := r.environments[r.in]
	if err := env.start(cmd); err != nil {
		return exit, err
	}
	err = cmd.Wait()
	if code := new(exec.ExitError); errors.As(err, &code) {
		err = nil
	}
	return lab.Exit{Code: cmd.ProcessState.ExitCode(), Stdout: env.asShown.Replace(stdout.String()), Stderr: env.asShown.Replace(stderr.String())}, err
}

// copied is a file that the reader has copied from the document.
var copied = regexp.MustCompile(`\b\w+\.py\b`)

// shell is a command as it is typed, at the root of the workspace, with the
// document's files where they are. Ctrl-C reaches everything that it starts.
func (r *runner) shell(ctx context.Context, line string) *exec.Cmd {
	line = copied.ReplaceAllString(line, r.dir+"/$0")
	if os.Geteuid() == 0 {
		line = strings.TrimPrefix(line, "sudo ")
	}
	env := r.environments[r.in]
	cmd := exec.CommandContext(ctx, "bash", "-c", env.asTyped.Replace(line))
	cmd.Dir, cmd.Env = inRoot(r.t, ""), slices.Clone(env.environ)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = lab.Patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// ours are the lines of stderr that our programs wrote: compose writes many
// there too.
var ours = regexp.MustCompile(`(?m)^(balancer|pingserver|client|demo): .*\n`)

// compare compares what a command printed with the document. It fails if the
// document shows an error of ours.
func (r *runner) compare(c command, exit lab.Exit, err error) {
	r.t.Helper()
	printed := splitLines(exit.Stdout + strings.Join(ours.FindAllString(exit.Stderr, -1), ""))
	text := strings.Join(c.shown, "\n") + "\n"
	shown := splitLines(text)
	switch {
	case err != nil || (exit.Code != 0) != ours.MatchString(text):
		r.t.Errorf("%s: %s\nexit %d (%v)\n%s%s", c.at, c.line, exit.Code, err, exit.Stdout, exit.Stderr)
	case c.shown == nil:
	case sameText(shown, printed):
		r.t.Logf("$ %s\n%s", c.line, exit.Stdout) // for renewing the document
	default:
		r.t.Errorf("%s: $ %s\n%s\n\nwhere the document shows\n%s", c.at, c.line, strings.Join(printed, "\n"), strings.Join(shown, "\n"))
	}
}

func splitLines(text string) []string { return strings.Split(strings.TrimRight(text, "\n "), "\n") }

// status asks the balancer that the document has started. ok is false if none
// answers.
func (r *runner) status() (status lab.Status, ok bool) {
	exit, err := r.execute("curl -s localhost:8080/api/status")
	ok = err == nil && exit.Code == 0 && json.Unmarshal([]byte(exit.Stdout), &status) == nil
	return status, ok
}

// terminal is a command that stays, at a terminal as its reader has: Docker's
// command passes Ctrl-C on for certain only there.
type terminal struct {
	line     string
	cmd      *exec.Cmd
	keyboard *os.File
	ended    chan struct{}
	printed  string   // a file
	seen     []string // lines that looks have found
}

// control are the codes by which a program colours and moves, and the end of a
// terminal's lines.
var control = regexp.MustCompile(`\x1b\[[\d;?]*[A-Za-z]|\^C|\r`)

// await waits until the terminal shows enough.
func (t *terminal) await(ctx context.Context, enough func(printed string) bool) error {
	return lab.Until(ctx, func(context.Context) error {
		screen, err := os.ReadFile(t.printed)
		printed := control.ReplaceAllString(string(screen), "")
		if err == nil && !enough(printed) {
			err = fmt.Errorf("it shows\n%s", printed)
		}
		return err
	})
}

// open opens a terminal for a command. What ran there before ends first.
func (r *runner) open(c command, p pattern) {
	r.t.Helper()
	r.close(p.terminal)
	if words := strings.Fields(c.line); words[0] == "sudo" && os.Getenv("UDPLAB_REQUIRE_DOCKER") != "1" {
		if _, err := exec.LookPath(words[1]); err != nil || os.Geteuid() != 0 {
			r.t.Skipf("%s: the rest is not run, because this needs root and %s: %s", c.at, words[1], c.line)
		}
	}
	screen, err := os.CreateTemp(r.t.TempDir(), p.terminal)
	keyboard, tty, err2 := pty.Open()
	if err := errors.Join(err, err2); err != nil {
		r.t.Fatal(err)
	}
	defer tty.Close()
	t := &terminal{line: c.line, cmd: r.shell(r.t.Context(), c.line), keyboard: keyboard, ended: make(chan struct{}), printed: screen.Name()}
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = tty, tty, tty
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = errors.Join(pty.Setsize(tty, &pty.Winsize{Rows: 50, Cols: 250}), r.environments[r.in].start(t.cmd))
	if err != nil {
		r.t.Fatalf("%s: %s: %v", c.at, c.line, err)
	}
	r.terminals[p.terminal] = t
	go func() {
		defer screen.Close()
		_, _ = io.Copy(screen, keyboard) // until all that have it open are gone
	}()
	ctx, cancel := context.WithTimeout(r.t.Context(), longestCommand)
	defer cancel()
	go func() {
		_ = t.cmd.Wait() // the exit code is in its state
		cancel()         // it will print no more
		close(t.ended)
	}()
	if err := t.await(ctx, regexp.MustCompile(p.ready).MatchString); err != nil {
		r.t.Fatalf("%s: %s\nnever prints %q: %v", c.at, c.line, p.ready, err)
	}
}

// composePrefix is what compose puts before each line of a service's.
var composePrefix = regexp.MustCompile(`(?m)^[\w.-]+ +\| ?`)

func (r *runner) look(l look) {
	screen := r.terminals[l.terminal]
	if screen == nil {
		r.t.Fatalf("%s: there is no terminal %q", l.at, l.terminal)
	}
	if l.ctrlC {
		r.interrupt(screen)
	}
	screen.seen = append(screen.seen, l.shows...)
	var lacking string
	err := screen.await(labtest.Within(r.t), func(printed string) bool {
		printed = composePrefix.ReplaceAllString(r.environments[r.in].asShown.Replace(printed), "")
		lacking = missing(screen.seen, splitLines(printed))
		return lacking == ""
	})
	if err != nil {
		r.t.Errorf("%s: the terminal of %s\nnever shows\n%s\n%v", l.at, screen.line, lacking, err)
	}
}

// close presses Ctrl-C in a terminal, if it is open, and waits for the end.
func (r *runner) close(name string) {
	if screen := r.terminals[name]; screen != nil {
		r.interrupt(screen)
		_ = screen.keyboard.Close()
		delete(r.terminals, name)
	}
}

func (r *runner) interrupt(screen *terminal) {
	r.t.Helper()
	_, _ = screen.keyboard.WriteString("\x03") // fails if it has ended
	select {
	case <-screen.ended:
	case <-time.After(lab.Patience):
		_ = screen.cmd.Cancel()
		<-screen.ended
		r.t.Errorf("%s: does not end by Ctrl-C", screen.line)
	}
}
