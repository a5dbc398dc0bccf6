package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	{match: `^(export|unset) `},
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
	for _, d := range documents(t) {
		for _, c := range commandsOf(d.steps...) {
			for line := range strings.SplitSeq(c.line, "; ") {
				p, ok := patternOf(line)
				if !ok {
					t.Errorf("%s: no pattern says how to run this command: %s", c.at, line)
				}
				if p.ci != "" && !strings.Contains(ci, p.ci) {
					t.Errorf("%s: %s is left to .ci/run, which has no %q", c.at, line, p.ci)
				}
			}
		}
	}
}

// TestDocuments runs every document from its top to its end, as a reader would
// who types everything and looks whether it is so. All run at once: most of the
// time they wait for the next ping.
func TestDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("the documents take minutes")
	}
	var readers sync.WaitGroup
	for _, d := range documents(t) {
		readers.Go(func() {
			t.Run(d.name, func(t *testing.T) {
				r := &runner{dir: t.TempDir(), terminals: map[string]*terminal{}}
				for _, s := range sections(d.steps) {
					if !t.Run(string(s.in), func(t *testing.T) { s.run(t, r) }) {
						return // what follows depends on it
					}
				}
			})
		})
	}
	readers.Wait()
}

// section is a part of a document that runs in one environment. Where there is
// none, as where there is no Docker, it is skipped and the others run.
type section struct {
	in    environmentName
	steps []step
}

// sections divides the steps of a document. What comes before the first that
// needs an environment belongs to it.
func sections(steps []step) (all []section) {
	var s section
	for _, step := range steps {
		if in := environmentOf(step); in != "" && s.in != "" && in != s.in {
			all, s = append(all, s), section{in: in}
		} else if s.in == "" {
			s.in = in
		}
		s.steps = append(s.steps, step)
	}
	if s.in == "" {
		s.in = processLab
	}
	return append(all, s)
}

// environmentOf is the environment that a step needs, or "".
func environmentOf(s step) environmentName {
	for _, c := range commandsOf(s) {
		for line := range strings.SplitSeq(c.line, "; ") {
			if p, ok := patternOf(line); ok && p.in != "" {
				return p.in
			}
		}
	}
	return ""
}

func (s section) run(t *testing.T, r *runner) {
	toRun := func(c command) bool { p, _ := patternOf(c.line); return p.ci == "" }
	if !slices.ContainsFunc(commandsOf(s.steps...), toRun) {
		return
	}
	r.t, r.env = t, newEnvironment(t, s.in)
	defer r.leave()
	for _, step := range s.steps {
		if step.run(r); t.Failed() {
			return
		}
	}
}

func TestADocumentIsRunSectionBySection(t *testing.T) {
	steps, err := readSteps("x", "```python a.py\n```\n```sh\ngo run ./services/balancer\n```\n```console\n$ curl -s x\n```\n"+
		"```sh\ndocker compose up --detach balancer\n```\n```text log\n```\n```powershell\n$env:A=\"1\"; go run ./services/balancer\n```")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sections(steps) {
		got = append(got, fmt.Sprintf("%s %d", s.in, len(s.steps)))
	}
	if want := "processes 3, containers 2, processes 1"; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %s", got, want)
	}
}

// runner runs the steps of one document.
type runner struct {
	t         *testing.T
	dir       string   // of files copied from the document
	environ   []string // set by export
	env       environment
	terminals map[string]*terminal
	skipped   []string // names of terminals that this machine cannot have
}

// longestCommand is how long a command may take: some build an image.
const longestCommand = 8 * time.Minute

// longTimeout is for clients of which the document shows no lost answer: on a
// busy machine an answer may take more than the usual second.
const longTimeout = "CLIENT_TIMEOUT=5s"

func (f file) run(r *runner) {
	if err := os.WriteFile(filepath.Join(r.dir, f.name), []byte(f.content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (t typed) run(r *runner) {
	if !t.together {
		for _, c := range t.commands {
			if r.run(c); r.t.Failed() {
				return
			}
		}
		return
	}
	results := make([]result, len(t.commands))
	var all sync.WaitGroup
	for i, c := range t.commands {
		all.Go(func() { results[i] = r.execute(c.line, c.about) })
	}
	all.Wait()
	for i, c := range t.commands {
		r.compare(c, results[i])
	}
}

func (r *runner) run(c command) {
	for line := range strings.SplitSeq(c.line, "; ") {
		p, ok := patternOf(line)
		switch {
		case !ok || p.ci != "": // see TestEveryCommandOfTheDocumentsIsRun
		case r.export(line):
		case p.terminal != "":
			r.open(c.at, line, p)
		default:
			r.compare(c, r.execute(line, c.about))
		}
		if p.up != "" {
			r.waitFor(p.up)
		}
	}
}

// leave ends everything that runs, once it has asked whether all turns were in
// order.
func (r *runner) leave() {
	if status, ok := r.status(); ok {
		for _, problem := range status.Unbalanced() {
			r.t.Error(problem)
		}
	}
	for name := range r.terminals {
		r.close(name)
	}
}

// export does what export and unset mean for the commands that follow.
func (r *runner) export(line string) bool {
	verb, words, _ := strings.Cut(line, " ")
	if verb != "export" && verb != "unset" {
		return false
	}
	for word := range strings.FieldsSeq(words) {
		name, _, _ := strings.Cut(word, "=")
		r.environ = slices.DeleteFunc(r.environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
		if verb == "export" {
			r.environ = append(r.environ, word)
		}
	}
	return true
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
	err            error // it could not run
}

// execute runs a command to its end. It may be called from any goroutine.
func (r *runner) execute(line string, usualTimeout bool) (res result) {
	ctx, cancel := context.WithTimeout(r.t.Context(), longestCommand)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := r.shell(ctx, line, usualTimeout)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := r.env.start(cmd); err != nil {
		return result{err: err}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		res.err = err
	}
	res.code, res.stdout, res.stderr = cmd.ProcessState.ExitCode(), r.env.asShown.Replace(stdout.String()), r.env.asShown.Replace(stderr.String())
	return res
}

// shell is a command as it is typed, at the root of the workspace, with the
// document's files where they are.
func (r *runner) shell(ctx context.Context, line string, usualTimeout bool) *exec.Cmd {
	words := strings.Split(line, " ")
	for i, word := range words {
		copied := filepath.Join(r.dir, word)
		if info, err := os.Stat(copied); err == nil && info.Mode().IsRegular() {
			words[i] = copied
		}
	}
	if os.Geteuid() == 0 && words[0] == "sudo" {
		words = words[1:]
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", r.env.asTyped.Replace(strings.Join(words, " ")))
	cmd.Dir = r.env.root
	cmd.Env = slices.Concat(r.env.environ, r.environ)
	if !usualTimeout {
		cmd.Env = append(cmd.Env, longTimeout)
	}
	cmd.Cancel = func() error { killGroup(cmd); return nil }
	cmd.WaitDelay = lab.Patience
	inGroup(cmd)
	return cmd
}

// ours are the lines of stderr that our programs wrote: compose writes many
// there too.
var ours = regexp.MustCompile(`(?m)^(balancer|pingserver|client|demo): .*\n`)

// compare compares what a command printed with the document.
func (r *runner) compare(c command, res result) {
	r.t.Helper()
	printed := splitLines(res.stdout + strings.Join(ours.FindAllString(res.stderr, -1), ""))
	shown := splitLines(strings.Join(c.shown, "\n"))
	same := sameText
	if c.about {
		same = aboutSameText
	}
	switch {
	case res.err != nil || res.code != c.exit:
		r.t.Errorf("%s: %s\nexit %d (%v), want %d\n%s%s", c.at, c.line, res.code, res.err, c.exit, res.stdout, res.stderr)
	case c.shown == nil:
	case same(shown, printed):
		r.t.Logf("$ %s\n%s", c.line, res.stdout) // for renewing the document
	default:
		r.t.Errorf("%s: $ %s\n%s\n\nwhere the document shows\n%s", c.at, c.line, strings.Join(printed, "\n"), strings.Join(shown, "\n"))
	}
}

func splitLines(text string) []string {
	if text = strings.TrimRight(text, "\n "); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// status asks the balancer that the document has started. ok is false if none
// answers.
func (r *runner) status() (status lab.Status, ok bool) {
	res := r.execute("curl -s localhost:8080/api/status", true)
	ok = res.err == nil && res.code == 0 && json.Unmarshal([]byte(res.stdout), &status) == nil
	return status, ok
}

// waitFor waits until a server is up.
func (r *runner) waitFor(server string) {
	r.t.Helper()
	labtest.Eventually(r.t, server+" is up", func(context.Context) error {
		if status, _ := r.status(); !status.Backend(server).Up {
			return fmt.Errorf("the status is %+v", status)
		}
		return nil
	})
}

// terminal is a command that stays.
type terminal struct {
	line    string
	cmd     *exec.Cmd
	ended   chan struct{}
	printed string   // a file
	seen    []string // lines that a look has found
}

// await waits until the terminal shows enough.
func (t *terminal) await(ctx context.Context, enough func(printed string) bool) error {
	return lab.Until(ctx, func(context.Context) error {
		printed, err := os.ReadFile(t.printed)
		if err == nil && !enough(string(printed)) {
			err = fmt.Errorf("it shows\n%s", printed)
		}
		return err
	})
}

// open opens a terminal for a command. What ran there before ends first.
func (r *runner) open(at, line string, p pattern) {
	r.t.Helper()
	r.close(p.terminal)
	if why := cannotRun(line); why != "" {
		r.t.Logf("%s: not run, because %s: %s", at, why, line)
		r.skipped = append(r.skipped, p.terminal)
		return
	}
	screen, err := os.CreateTemp(r.t.TempDir(), p.terminal)
	if err != nil {
		r.t.Fatal(err)
	}
	defer screen.Close()
	t := &terminal{line: line, cmd: r.shell(r.t.Context(), line, true), ended: make(chan struct{}), printed: screen.Name()}
	t.cmd.Stdout, t.cmd.Stderr = screen, screen
	if err := r.env.start(t.cmd); err != nil {
		r.t.Fatalf("%s: %s: %v", at, line, err)
	}
	go func() {
		defer close(t.ended)
		_ = t.cmd.Wait() // the exit code is in its state
	}()
	r.terminals[p.terminal] = t
	ctx, cancel := context.WithTimeout(r.t.Context(), longestCommand)
	defer cancel()
	go func() { // a command that has ended will print no more
		<-t.ended
		cancel()
	}()
	if err := t.await(ctx, regexp.MustCompile(p.ready).MatchString); err != nil {
		r.t.Fatalf("%s: %s\nnever prints %q: %v", at, line, p.ready, err)
	}
}

// cannotRun says why this machine cannot run a command, or "". Where Docker is
// required, so is everything.
func cannotRun(line string) string {
	if !strings.HasPrefix(line, "sudo ") || os.Getenv("UDPLAB_REQUIRE_DOCKER") == "1" {
		return ""
	}
	if os.Geteuid() != 0 {
		return "it is for root"
	}
	if _, err := exec.LookPath(strings.Fields(line)[1]); err != nil {
		return err.Error()
	}
	return ""
}

// composePrefix is what compose puts before each line of a service's, and the
// colours around it.
var composePrefix = regexp.MustCompile(`(?m)^(\x1b\[\d*m)*[\w.-]+ +\|(\x1b\[\d*m)* ?`)

func (l look) run(r *runner) {
	if slices.Contains(r.skipped, l.terminal) {
		return
	}
	screen := r.terminals[l.terminal]
	if screen == nil {
		r.t.Fatalf("%s: there is no terminal %q", l.at, l.terminal)
	}
	if l.ctrlC {
		r.interrupt(screen)
	}
	var lacking string
	err := screen.await(labtest.Within(r.t), func(printed string) bool {
		printed = composePrefix.ReplaceAllString(r.env.asShown.Replace(printed), "")
		_, unseen := missing(screen.seen, splitLines(printed))
		lacking, _ = missing(l.shows, unseen)
		return lacking == ""
	})
	if err != nil {
		r.t.Errorf("%s: the terminal of %s\nnever shows\n%s\n%v", l.at, screen.line, lacking, err)
	}
	screen.seen = append(screen.seen, l.shows...)
}

// close presses Ctrl-C in a terminal, if it is open, and waits for the end.
func (r *runner) close(name string) {
	if screen := r.terminals[name]; screen != nil {
		r.interrupt(screen)
		delete(r.terminals, name)
	}
}

func (r *runner) interrupt(screen *terminal) {
	r.t.Helper()
	interruptGroup(screen.cmd)
	select {
	case <-screen.ended:
	case <-time.After(lab.Patience):
		killGroup(screen.cmd)
		<-screen.ended
		r.t.Errorf("%s: does not end by Ctrl-C", screen.line)
	}
}
