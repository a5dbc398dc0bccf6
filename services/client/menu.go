package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

// option is one line of the menu.
type option struct {
	key, title, note string
	explain          string
	run              func(m *menu, ctx context.Context) error
}

// options is the menu from the top.
func options() []option {
	return []option{
		{"1", "Ask the servers a question", "",
			"Sends your words to whoever has the turn; a server answers in capitals, with its name", (*menu).question},
		{"2", "Send ten pings", "",
			"Sends ten pings one after the other, each to the next server, and a summary", (*menu).tenPings},
		{"3", "Send pings my way", "(how many? how fast? how long to wait?)",
			"Does the same, but first asks how many, how far apart, and how long to wait for an answer", (*menu).myWay},
		{"4", "Whose turn is it?", "",
			"Sends one ping to find out, which takes that turn, and says who should be next", (*menu).whoseTurn},
		{"5", "Load test", "",
			"Keeps many datagrams under way for a while: how many answers a second, who gave them, how long they took", (*menu).loadTest},
		{"6", "Break something", "(what to type to stop, pause or slow a server)",
			"Does nothing itself: prints commands for another terminal", (*menu).breakSomething},
		{"0", "Quit", "", "Leaves; so does the end of input", nil},
	}
}

// usual is the option that Enter takes.
const usual = "2"

// menu is one sitting of questions and options.
type menu struct {
	client
	cfg    settings
	in     *console
	cycle  cycle // the order of the servers, once known
	result error // of the latest run
}

// menu offers its options until one of them, the end of the input or the
// context ends it. The error has the exit code of the latest run, whose own
// words have been printed.
func (p client) menu(ctx context.Context, cfg settings) error {
	_, stop := statusRequests() // so that between two runs one does no harm
	defer stop()
	m := &menu{
		client: p,
		cfg:    cfg,
		in:     &console{in: bufio.NewReader(p.stdin), out: p.stdout, echo: !p.isTerminal(p.stdin)},
		cycle:  cfg.ExpectCycle,
	}
	for ctx.Err() == nil {
		chosen, err := m.choose(ctx)
		if err != nil || chosen.run == nil {
			break
		}
		if err := chosen.run(m, ctx); err != nil {
			break
		}
		fmt.Fprintln(p.stdout)
	}
	return program.Exit(program.ExitCode(m.result))
}

// choose shows the menu and asks until an option is chosen. It returns
// io.EOF when the input ends.
func (m *menu) choose(ctx context.Context) (option, error) {
	all := options()
	fmt.Fprintln(m.stdout, "What would you like to do?")
	for _, o := range all {
		line := fmt.Sprintf("  %s) %-30s%s", o.key, o.title, o.note)
		fmt.Fprintln(m.stdout, strings.TrimRight(line, " "))
	}
	for {
		answer, err := m.in.ask(ctx, "Your choice", usual)
		if err != nil {
			return option{}, err
		}
		if which, asked := strings.CutPrefix(answer, "?"); asked {
			m.explain(all, strings.TrimSpace(which))
			continue
		}
		if answer == "q" { // as elsewhere
			answer = "0"
		}
		i := slices.IndexFunc(all, func(o option) bool { return o.key == answer })
		if i >= 0 {
			return all[i], nil
		}
		fmt.Fprintf(m.stdout, "There is no option %q: type one of the numbers above, Enter for %s, or ? for what they do.\n", answer, usual)
	}
}

// explain says what an option does, or each of them if none is named.
func (m *menu) explain(all []option, which string) {
	known := slices.ContainsFunc(all, func(o option) bool { return o.key == which })
	for _, o := range all {
		if !known || o.key == which {
			fmt.Fprintf(m.stdout, "  %s) %s.\n", o.key, o.explain)
		}
	}
	if !known {
		fmt.Fprintf(m.stdout, "  Your pings go to %s.\n", m.cfg.Target)
	}
}

// send is one run whose result the menu remembers.
func (m *menu) send(ctx context.Context, cfg settings, w wording, show func(event)) {
	found, err := m.exchange(ctx, cfg, w, show)
	if known := found.order.cycle(); known != nil {
		m.cycle = known
	}
	m.remember(err)
}

// remember keeps what a run ended with, and says it where its summary did not.
func (m *menu) remember(err error) {
	m.result = err
	if err != nil && err.Error() != "" {
		fmt.Fprintf(m.stderr, "client: %v\n", err)
	}
}

func (m *menu) question(ctx context.Context) error {
	text, err := m.in.ask(ctx, "Your question", "hello")
	if err != nil {
		return err
	}
	if err := checkQuestion([]string{text}); err != nil {
		fmt.Fprintln(m.stdout, err)
		return nil
	}
	cfg := m.cfg
	cfg.Count = 1
	m.send(ctx, cfg, oneQuestion(text), answerReport{out: m.stdout, err: m.stderr, paint: m.paint()}.show)
	return nil
}

func (m *menu) tenPings(ctx context.Context) error {
	cfg := m.cfg
	cfg.Count = 10
	m.send(ctx, cfg, pings, m.textReport(cfg).show)
	return nil
}

// myWay asks for the numbers of a run. They obey the rules of the flags.
func (m *menu) myWay(ctx context.Context) error {
	var flags []string
	for _, q := range []struct{ text, flag, usual string }{
		{"How many pings (0: until Ctrl-C, which also quits)?", "--count", fmt.Sprint(m.cfg.Count)},
		{"How long from one to the next?", "--interval", m.cfg.Interval.String()},
		{"How long to wait for an answer?", "--timeout", m.cfg.Timeout.String()},
	} {
		flag, err := m.askFlag(ctx, q.text, q.flag, q.usual)
		if err != nil {
			return err
		}
		flags = append(flags, flag)
	}
	var way settings
	if _, err := config.Load(&way, config.Source{Args: flags}); err != nil {
		return err
	}
	cfg := m.cfg
	cfg.Count, cfg.Interval, cfg.Timeout = way.Count, way.Interval, way.Timeout
	m.send(ctx, cfg, pings, m.textReport(cfg).show)
	return nil
}

// askFlag asks until the answer is a value that the flag takes.
func (m *menu) askFlag(ctx context.Context, text, flag, usual string) (string, error) {
	for {
		answer, err := m.in.ask(ctx, text, usual)
		if err != nil {
			return "", err
		}
		flag := flag + "=" + answer
		_, err = config.Load(&settings{}, config.Source{Args: []string{flag}})
		if err == nil {
			return flag, nil
		}
		var problem config.Problem
		if errors.As(err, &problem) {
			fmt.Fprintf(m.stdout, "%q does not do: give %s, or Enter for %s.\n", answer, problem.Want, usual)
		}
	}
}

// whoseTurn finds out in the only way there is.
func (m *menu) whoseTurn(ctx context.Context) error {
	fmt.Fprintln(m.stdout, "The turn shows only by being taken: sending one ping.")
	cfg := m.cfg
	cfg.Count = 1
	var answer event
	m.send(ctx, cfg, pings, func(e event) {
		switch e.(type) {
		case replied, timedOut:
			answer = e
		}
	})
	switch e := answer.(type) {
	case replied:
		fmt.Fprintln(m.stdout, m.whoIsNext(e.server))
	case timedOut:
		fmt.Fprintln(m.stdout, noAnswer(e))
	}
	return nil
}

// whoIsNext says what an answer by this server tells about the next turn.
func (m *menu) whoIsNext(server string) string {
	if server == unnamed {
		return "It was answered by a server that does not say its name, so nobody can tell who is next."
	}
	said := fmt.Sprintf("It was %s's turn, and this ping has taken it.", printable(server))
	place := slices.Index(m.cycle, server)
	if place < 0 {
		return said + fmt.Sprintf(" The order of the servers is not known yet: option %s shows it.", usual)
	}
	next := m.cycle[(place+1)%len(m.cycle)]
	return said + fmt.Sprintf(" The next turn is expected to be %s's.", printable(next))
}

func noAnswer(e timedOut) string {
	if e.why != "" {
		return fmt.Sprintf("REQUEST TIMED OUT  (%s): the ping did not get there and took no turn.", e.why)
	}
	return "REQUEST TIMED OUT: if the ping got there, it took a turn, but nobody said whose."
}

// loadTest is a load as the flags say, or the usual one. How many pings are
// usual is no limit for it, and it holds nobody to a cycle, as it cannot.
func (m *menu) loadTest(ctx context.Context) error {
	cfg := m.cfg
	cfg.Count = 0
	m.remember(m.carryOut(ctx, cfg, m.textReport(cfg).show))
	return nil
}

func (m *menu) breakSomething(context.Context) error {
	fmt.Fprint(m.stdout, whatToType(runtime.GOOS))
	return nil
}

// whatToType is how to break something, for a client on this system. That of a
// container is Linux whatever the terminal's is, so it says both.
func whatToType(system string) string {
	const compose = `Type one of these in another terminal, where docker-compose.yml is, then send pings:
  docker compose stop server2       it is gone, and its turns go to the next server
  docker compose start server2      it is back, and so is its turn
  docker compose pause server2      it is silent: its turns time out until the balancer notices
  docker compose unpause server2    it answers everything it missed, too late
From outside this menu, ping with --no-deps, or compose starts the server again:
  docker compose run --rm --no-deps client
Bad servers from now on, and good ones again:
`
	const powerShell = `  $env:PINGSERVER_LOSS="0.36"       about every third answer is lost
  $env:PINGSERVER_DELAY="800ms"     every answer takes its time
  Remove-Item Env:PINGSERVER_*
`
	const again = `and after any of these three:
  docker compose up -d server1 server2 server3
Without Docker, stop a server with Ctrl-C and start it again, perhaps so:
`
	if system == "windows" {
		return compose + powerShell + again + `  $env:PINGSERVER_LOSS="0.36"; go run ./services/pingserver 2527
`
	}
	return compose + `  export PINGSERVER_LOSS=0.36       about every third answer is lost
  export PINGSERVER_DELAY=800ms     every answer takes its time
  unset PINGSERVER_LOSS PINGSERVER_DELAY
(in PowerShell: $env:PINGSERVER_LOSS="0.36", and Remove-Item Env:PINGSERVER_*)
` + again + `  PINGSERVER_LOSS=0.36 go run ./services/pingserver 2527
  PINGSERVER_DELAY=800ms go run ./services/pingserver 2527
`
}

// console asks questions on one reader, be it a terminal or a pipe.
type console struct {
	in   *bufio.Reader
	out  io.Writer
	echo bool // nobody sees what is typed, so print it
}

// ask prints the question and returns the trimmed answer, the usual one for an
// empty line. It returns io.EOF at the end of the input, and the context's
// error when that ends first; nothing may be asked after an error.
func (c *console) ask(ctx context.Context, text, usual string) (string, error) {
	fmt.Fprintf(c.out, "%s [%s]: ", strings.TrimRight(text, ":"), usual)
	line, err := c.line(ctx)
	if err != nil {
		fmt.Fprintln(c.out)
		return "", err
	}
	answer := strings.TrimSpace(line)
	if c.echo {
		fmt.Fprintln(c.out, printable(answer))
	}
	if answer == "" {
		return usual, nil
	}
	return answer, nil
}

// line reads one line, which the end of the input may end. Nothing can stop a
// read from a terminal, so when the context ends first, the read is left to
// the end of the process.
func (c *console) line(ctx context.Context) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := c.in.ReadString('\n')
		done <- read{line, err}
	}()
	select {
	case r := <-done:
		if r.err != nil && r.line == "" {
			return "", r.err
		}
		return r.line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
