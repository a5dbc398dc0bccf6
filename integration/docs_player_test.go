package integration

import (
	"bytes"
	"context"
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
)

// manner is how commands of one kind are played. Of those whose pattern a
// command matches, the first counts.
type manner struct {
	pattern string
	// on is where: it opens that stage. nil: wherever the document is by then.
	on func(*testing.T) stage
	// stays is for a command that goes on while others are typed: it names the
	// terminal that it has to itself. ready is what it says when they may be.
	stays, ready string
	// up names a server that the reader then waits for, until the page shows
	// it up.
	up string
	// ci is for what .ci/run runs by itself: a line of it.
	ci string
}

const (
	variables = `(?:\w+=\S+ )*`
	fromImage = `(?:GO_IMAGE=\$\(go run \./integration/goimage\) )?`
	compose   = `^` + variables + `docker compose (?:-f \S+ )*`
)

var manners = []manner{
	{pattern: `^go test work$`, ci: `go test -race -shuffle=on -timeout 25m work`},
	{pattern: `^go run \./integration/(bench|soak|faults)\b`, ci: `go run ./integration/$1 `},

	{pattern: `^` + fromImage + `docker compose up --build$`, on: inContainers, stays: "up", ready: `exited with code 0`},
	{pattern: compose + `logs --follow `, on: inContainers, stays: "log", ready: `balancer listens on`},
	{pattern: compose + `run .*\bclient .*--count 40\b`, on: inContainers, stays: "client", ready: `seq=1 `},
	{pattern: compose + `up --detach --no-deps (?P<server>server\d)$`, on: inContainers, up: "$server"},
	{pattern: compose + `(up|run|stop|start|restart|pause|unpause|exec|logs|down)\b`, on: inContainers},

	{pattern: `^` + variables + `go run \./services/pingserver (?P<port>\d+)$`, on: inProcesses, stays: "$port", ready: `listens on`},
	{pattern: `^` + variables + `go run \./services/balancer( 8888)?$`, on: inProcesses, stays: "balancer", ready: `listens on`},
	{pattern: `^` + variables + `go run \./services/client\b`, on: inProcesses},

	{pattern: `^go run \./integration/demo$`},
	{pattern: `^sudo tcpdump `, stays: "capture", ready: `listening on`},
	{pattern: `^python3 \w+\.py `},
	{pattern: `^curl -`},
	{pattern: `^(export|unset) `},
}

// mannerOf is how a command is played, its names filled in. ok is false for a
// command that nobody knows.
func mannerOf(command string) (m manner, ok bool) {
	for _, m := range manners {
		pattern := regexp.MustCompile(m.pattern)
		if found := pattern.FindStringSubmatchIndex(command); found != nil {
			m.stays = string(pattern.ExpandString(nil, m.stays, command, found))
			m.up = string(pattern.ExpandString(nil, m.up, command, found))
			m.ci = string(pattern.ExpandString(nil, m.ci, command, found))
			return m, true
		}
	}
	return manner{}, false
}

func TestEveryCommandOfTheDocumentsIsPlayed(t *testing.T) {
	ci := readRoot(t, ".ci/run")
	check := func(one typing) {
		for command := range strings.SplitSeq(one.command, "; ") {
			m, ok := mannerOf(command)
			if !ok {
				t.Errorf("%s: nobody knows how to play this command: %s", one.at, command)
			}
			if m.ci != "" && !strings.Contains(ci, m.ci) {
				t.Errorf("%s: %s is left to .ci/run, which has no %q", one.at, command, m.ci)
			}
		}
	}
	for _, d := range documents(t) {
		for _, s := range d.steps {
			switch s := s.(type) {
			case typing:
				check(s)
			case together:
				for _, one := range s {
					check(one)
				}
			}
		}
	}
}

// TestDocuments plays every document from its top to its end, as a reader
// would who types everything and looks whether it is so. All are played at
// once: most of the time they wait for the next ping.
func TestDocuments(t *testing.T) {
	var readers sync.WaitGroup
	for _, d := range documents(t) {
		readers.Go(func() { t.Run(d.name, d.play) })
	}
	readers.Wait()
}

func (d document) play(t *testing.T) {
	p := &player{dir: t.TempDir(), terminals: map[string]*terminal{}}
	for _, a := range acts(d.steps) {
		if !t.Run(a.name(), func(t *testing.T) { a.play(t, p) }) {
			return // what follows depends on it
		}
	}
}

// act is what is played on one stage. Where there is no such stage, as where
// there is no Docker, it is skipped and the others are played.
type act struct {
	on    func(*testing.T) stage // nil: nothing in it needs one
	steps []step
}

// acts are the steps of a document by their stages. What comes before the first
// stage belongs to it.
func acts(steps []step) (all []act) {
	var a act
	for _, s := range steps {
		if on := stageOf(s); on != nil && a.on != nil && nameOf(on) != nameOf(a.on) {
			all, a = append(all, a), act{on: on}
		} else if a.on == nil {
			a.on = on
		}
		a.steps = append(a.steps, s)
	}
	return append(all, a)
}

// stageOf is the stage that a step is played on, or nil if it is played wherever
// the document is.
func stageOf(s step) func(*testing.T) stage {
	var commands []string
	switch s := s.(type) {
	case typing:
		commands = strings.Split(s.command, "; ")
	case together:
		commands = []string{s[0].command}
	}
	for _, command := range commands {
		if m, ok := mannerOf(command); ok && m.on != nil {
			return m.on
		}
	}
	return nil
}

func (a act) name() string {
	switch {
	case a.on == nil:
		return "anywhere"
	case nameOf(a.on) == nameOf(inContainers):
		return "containers"
	}
	return "processes"
}

func (a act) play(t *testing.T, p *player) {
	p.t = t
	defer p.leave()
	for _, s := range a.steps {
		s.play(p)
		if t.Failed() {
			return
		}
	}
}

func TestADocumentIsPlayedStageByStage(t *testing.T) {
	d, err := readSteps("x", "```python a.py\n```\n```sh\ngo run ./services/balancer\n```\n```console\n$ curl -s x\n```\n"+
		"```sh\ndocker compose up --detach balancer\n```\n```text log\n```\n```powershell\n$env:A=\"1\"; go run ./services/balancer\n```")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range acts(d) {
		got = append(got, fmt.Sprintf("%s %d", a.name(), len(a.steps)))
	}
	if want := "processes 3, containers 2, processes 1"; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %s", got, want)
	}
}

// stage is where commands are played: a lab in containers, or one in processes.
type stage interface {
	// command is one, ready to run in a shell at the root of the workspace.
	command(ctx context.Context, line string, environ []string) *exec.Cmd
	// start starts it where the stage is.
	start(cmd *exec.Cmd) error
	// asShown is what was printed, with the addresses that the documents have.
	asShown(printed string) string
	// end ends what the commands have left.
	end()
}

// player is who types.
type player struct {
	t         *testing.T
	dir       string   // of files copied from the document
	environ   []string // set by export
	stage     stage    // nil: none yet
	name      string   // of the stage
	terminals map[string]*terminal
	notPlayed []string // names of terminals that this machine cannot have
}

// patienceWithCommands is how long a command may take: some build an image.
const patienceWithCommands = 8 * time.Minute

func (f file) play(p *player) {
	if err := os.WriteFile(filepath.Join(p.dir, f.name), []byte(f.content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (s typing) play(p *player) {
	for command := range strings.SplitSeq(s.command, "; ") {
		m, ok := mannerOf(command)
		if m.on != nil && ok {
			p.enter(m.on)
		}
		switch {
		case !ok || m.ci != "":
			// TestEveryCommandOfTheDocumentsIsPlayed says so.
		case p.export(command):
		case m.stays != "":
			p.open(s.at, command, m.stays, m.ready)
		case p.stage == nil:
			p.t.Fatalf("%s: nothing has been started that %s could be played in", s.at, command)
		default:
			p.expect(s, p.run(command))
		}
		if m.up != "" {
			p.waitFor(m.up)
		}
	}
}

func (s together) play(p *player) {
	answers := make([]answered, len(s))
	var wg sync.WaitGroup
	for i, one := range s {
		m, ok := mannerOf(one.command)
		if !ok || m.stays != "" || m.on == nil {
			p.t.Fatalf("%s: %s cannot be played at once with others", one.at, one.command)
		}
		p.enter(m.on)
		wg.Go(func() { answers[i] = p.run(one.command) })
	}
	wg.Wait()
	for i, one := range s {
		p.expect(one, answers[i])
	}
}

// enter goes to a stage, and leaves the one before.
func (p *player) enter(open func(*testing.T) stage) {
	p.t.Helper()
	if name := nameOf(open); name != p.name {
		p.leave()
		p.stage, p.name = open(p.t), name
	}
}

// leave ends everything that runs, once it has been asked whether all turns
// were in order.
func (p *player) leave() {
	if p.stage == nil {
		return
	}
	p.audit()
	for name := range p.terminals {
		p.close(name)
	}
	p.stage.end()
	p.stage, p.name = nil, ""
}

// export obeys export and unset, which are for all commands that follow.
func (p *player) export(command string) bool {
	words, isExport := strings.CutPrefix(command, "export ")
	names, isUnset := strings.CutPrefix(command, "unset ")
	remove := func(name string) {
		p.environ = slices.DeleteFunc(p.environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	}
	switch {
	case isExport:
		for setting := range strings.FieldsSeq(words) {
			name, _, _ := strings.Cut(setting, "=")
			remove(name)
			p.environ = append(p.environ, setting)
		}
	case isUnset:
		for name := range strings.FieldsSeq(names) {
			remove(name)
		}
	}
	return isExport || isUnset
}

// answered is how a command ended.
type answered struct {
	code           int
	stdout, stderr string
	err            error // it could not run
}

// run plays a command to its end. Usable from any goroutine.
func (p *player) run(command string) (a answered) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patienceWithCommands)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := p.command(ctx, command)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := p.stage.start(cmd); err != nil {
		return answered{err: err}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		a.err = err
	}
	a.code, a.stdout, a.stderr = cmd.ProcessState.ExitCode(), p.stage.asShown(stdout.String()), p.stage.asShown(stderr.String())
	return a
}

// command is one as it is typed, with the files where they are.
func (p *player) command(ctx context.Context, command string) *exec.Cmd {
	words := strings.Split(command, " ")
	for i, word := range words {
		if copied := filepath.Join(p.dir, word); word != "" && isFile(copied) {
			words[i] = copied
		}
	}
	cmd := p.stage.command(ctx, strings.Join(words, " "), p.environ)
	inGroup(cmd)
	cmd.WaitDelay = lab.Patience
	return cmd
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// ours are the lines of stderr that our programs wrote: compose has much to say
// there, too.
var ours = regexp.MustCompile(`(?m)^(balancer|pingserver|client|demo): .*\n`)

// expect holds what a command printed against the document.
func (p *player) expect(s typing, a answered) {
	p.t.Helper()
	printed := lines(a.stdout + strings.Join(ours.FindAllString(a.stderr, -1), ""))
	switch shown := lines(strings.Join(s.prints, "\n")); {
	case a.err != nil || a.code != s.exit:
		p.t.Errorf("%s: %s\nexit %d (%v), want %d\n%s%s", s.at, s.command, a.code, a.err, s.exit, a.stdout, a.stderr)
	case s.prints == nil:
	case sameText(shown, printed):
		p.t.Logf("$ %s\n%s", s.command, a.stdout) // for whoever renews the document
	default:
		p.t.Errorf("%s: $ %s\n%s\n\nwhere the document shows\n%s", s.at, s.command, strings.Join(printed, "\n"), strings.Join(shown, "\n"))
	}
}

func lines(text string) []string {
	text = strings.TrimRight(text, "\n ")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// terminal is a command that stays, and what it has printed.
type terminal struct {
	command string
	cmd     *exec.Cmd
	ended   chan struct{}

	mu      sync.Mutex
	printed bytes.Buffer
	taken   []string // lines that a look has found
	wrote   chan struct{}
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.wrote <- struct{}{}:
	default:
	}
	return t.printed.Write(p)
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.printed.String()
}

// open opens a terminal for a command. What ran there before ends first.
func (p *player) open(at, command, name, ready string) {
	p.t.Helper()
	p.close(name)
	if why := unplayable(command); why != "" {
		p.t.Logf("%s: not played, because %s: %s", at, why, command)
		p.notPlayed = append(p.notPlayed, name)
		return
	}
	if p.stage == nil {
		p.t.Fatalf("%s: nothing has been started that %s could be played in", at, command)
	}
	screen := &terminal{command: command, ended: make(chan struct{}), wrote: make(chan struct{}, 1)}
	screen.cmd = p.command(p.t.Context(), command)
	screen.cmd.Stdout, screen.cmd.Stderr = screen, screen
	if err := p.stage.start(screen.cmd); err != nil {
		p.t.Fatalf("%s: %s: %v", at, command, err)
	}
	go func() {
		defer close(screen.ended)
		_ = screen.cmd.Wait() // the exit code is in its state
	}()
	p.terminals[name] = screen
	if !screen.await(patienceWithCommands, regexp.MustCompile(ready).MatchString) {
		p.t.Fatalf("%s: %s\nnever says %q, but\n%s", at, command, ready, screen)
	}
}

// await waits until enough is printed, and says whether it ever was.
func (t *terminal) await(patience time.Duration, enough func(printed string) bool) bool {
	deadline := time.After(patience)
	for !enough(t.String()) {
		select {
		case <-t.wrote:
		case <-t.ended:
			return enough(t.String())
		case <-deadline:
			return false
		}
	}
	return true
}

// unplayable says why this machine cannot play a command, or "". Where Docker
// is required, so is everything.
func unplayable(command string) string {
	if !strings.HasPrefix(command, "sudo ") || os.Getenv("UDPLAB_REQUIRE_DOCKER") == "1" {
		return ""
	}
	if os.Geteuid() != 0 {
		return "it is for root"
	}
	if _, err := exec.LookPath(strings.Fields(command)[1]); err != nil {
		return err.Error()
	}
	return ""
}

func (g glance) play(p *player) {
	if slices.Contains(p.notPlayed, g.terminal) {
		return
	}
	screen := p.terminals[g.terminal]
	if screen == nil {
		p.t.Fatalf("%s: there is no terminal %q", g.at, g.terminal)
	}
	if g.ctrlC {
		p.interrupt(screen)
	}
	var lacking string
	var left []string
	found := screen.await(lab.Patience, func(printed string) bool {
		all := lines(withoutPrefix(p.stage.asShown(printed)))
		_, fresh := missing(screen.taken, all)
		lacking, left = missing(g.shows, fresh)
		return lacking == ""
	})
	if !found {
		p.t.Errorf("%s: the terminal of %s\nnever shows\n%s\nbut\n%s", g.at, screen.command, lacking, strings.Join(left, "\n"))
	}
	screen.taken = append(screen.taken, g.shows...)
}

// composePrefix is what compose puts before each line of a service's, and the
// colours around it.
var composePrefix = regexp.MustCompile(`(?m)^(\x1b\[\d*m)*[\w.-]+ +\|(\x1b\[\d*m)* ?`)

func withoutPrefix(printed string) string { return composePrefix.ReplaceAllString(printed, "") }

// close presses Ctrl-C in a terminal, if it is open, and waits for the end.
func (p *player) close(name string) {
	screen := p.terminals[name]
	if screen == nil {
		return
	}
	p.interrupt(screen)
	delete(p.terminals, name)
}

func (p *player) interrupt(screen *terminal) {
	p.t.Helper()
	interruptGroup(screen.cmd)
	select {
	case <-screen.ended:
	case <-time.After(lab.Patience):
		killGroup(screen.cmd)
		<-screen.ended
		p.t.Errorf("%s: does not end by Ctrl-C\n%s", screen.command, screen)
	}
}
