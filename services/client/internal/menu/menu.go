// Package menu asks a person what to do. Its prompts read one line at a time, so it
// works in a terminal, through a pipe and with a screen reader.
package menu

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
	"udplab/services/client/internal/report"
	"udplab/services/client/internal/runner"
	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

// Menu is one sitting of questions and options.
type Menu struct {
	In     io.Reader
	Echo   bool // print what is typed: In is no terminal
	Runner runner.Runner
	Report report.Options
	Pings  ping.Plan
	Load   load.Plan
	// SetFlag sets in a plan what a flag of the command line would set. Its error
	// has a config.Problem.
	SetFlag func(plan *ping.Plan, flag, value string) error

	in     *bufio.Reader
	cycle  ping.Cycle // the order of the servers, once known
	result error      // of the latest run
}

// option is one line of the menu.
type option struct {
	key, title, note string
	explain          string
	run              func(m *Menu, ctx context.Context) error // nil: quit
}

// options is the menu from the top.
var options = []option{
	{"1", "Ask the servers a question", "",
		"Sends your words to whoever has the turn; a server answers in capitals, with its name", (*Menu).question},
	{"2", "Send ten pings", "",
		"Sends ten pings one after the other, each to the next server, and a summary", (*Menu).tenPings},
	{"3", "Send pings my way", "(how many? how fast? how long to wait?)",
		"Does the same, but first asks how many, how far apart, and how long to wait for an answer", (*Menu).myWay},
	{"4", "Whose turn is it?", "",
		"Sends one ping to find out, which takes that turn, and says who should be next", (*Menu).whoseTurn},
	{"5", "Load test", "",
		"Keeps many datagrams under way for a while: how many answers a second, who gave them, how long they took", (*Menu).loadTest},
	{"6", "Break something", "(what to type to stop, pause or slow a server)",
		"Does nothing itself: prints commands for another terminal", (*Menu).breakSomething},
	{"0", "Quit", "", "Leaves; so does the end of input", nil},
}

// usual is the option that Enter takes.
const usual = "2"

// Show offers the options until one of them, the end of the input or the context
// ends it. The error has the exit code of the latest run and no text: everything
// has been said.
func (m *Menu) Show(ctx context.Context) error {
	m.in, m.cycle = bufio.NewReader(m.In), m.Pings.Cycle
	for ctx.Err() == nil {
		chosen, err := m.choose(ctx)
		if err != nil || chosen.run == nil {
			break
		}
		if err := chosen.run(m, ctx); err != nil {
			break
		}
		m.say("")
	}
	return program.Exit(program.ExitCode(m.result))
}

// choose shows the menu and asks until an option is chosen. It returns io.EOF when
// the input ends.
func (m *Menu) choose(ctx context.Context) (option, error) {
	m.say("What would you like to do?")
	for _, o := range options {
		m.say(strings.TrimRight(fmt.Sprintf("  %s) %-30s%s", o.key, o.title, o.note), " "))
	}
	for {
		answer, err := m.ask(ctx, "Your choice", usual)
		if err != nil {
			return option{}, err
		}
		if key, asked := strings.CutPrefix(answer, "?"); asked {
			m.explain(strings.TrimSpace(key))
			continue
		}
		if answer == "q" { // as elsewhere
			answer = "0"
		}
		if i := find(answer); i >= 0 {
			return options[i], nil
		}
		m.say(fmt.Sprintf("There is no option %q: type one of the numbers above, Enter for %s, or ? for what they do.", answer, usual))
	}
}

// find is the place of an option, -1 if there is none.
func find(key string) int {
	return slices.IndexFunc(options, func(o option) bool { return o.key == key })
}

// explain says what an option does, or each of them if there is none of this key.
func (m *Menu) explain(key string) {
	known := find(key) >= 0
	for _, o := range options {
		if !known || o.key == key {
			m.say(fmt.Sprintf("  %s) %s.", o.key, o.explain))
		}
	}
	if !known {
		m.say(fmt.Sprintf("  Your pings go to %s.", m.Runner.Target))
	}
}

func (m *Menu) question(ctx context.Context) error {
	text, err := m.ask(ctx, "Your question", "hello")
	if err != nil {
		return err
	}
	if err := ping.CheckQuestion(text); err != nil {
		m.say(err.Error())
		return nil
	}
	plan, shown := m.Pings, m.Report
	plan.Question, shown.Answer, shown.Quiet = &text, true, false
	m.pings(ctx, plan, report.New(shown).Show)
	return nil
}

func (m *Menu) tenPings(ctx context.Context) error {
	plan := m.Pings
	plan.Count = 10
	m.pings(ctx, plan, report.New(m.Report).Show)
	return nil
}

// myWay asks for the numbers of a run, which keep the rules of the flags.
func (m *Menu) myWay(ctx context.Context) error {
	plan := m.Pings
	for _, q := range []struct{ text, flag, usual string }{
		{"How many pings (0: until Ctrl-C, which also quits)?", "--count", fmt.Sprint(plan.Count)},
		{"How long from one to the next?", "--interval", plan.Interval.String()},
		{"How long to wait for an answer?", "--timeout", plan.Timeout.String()},
	} {
		if err := m.askFlag(ctx, &plan, q.text, q.flag, q.usual); err != nil {
			return err
		}
	}
	m.pings(ctx, plan, report.New(m.Report).Show)
	return nil
}

// askFlag asks until the answer is a value that the flag takes.
func (m *Menu) askFlag(ctx context.Context, plan *ping.Plan, text, flag, usual string) error {
	for {
		answer, err := m.ask(ctx, text, usual)
		if err != nil {
			return err
		}
		err = m.SetFlag(plan, flag, answer)
		if err == nil {
			return nil
		}
		var problem config.Problem
		errors.As(err, &problem)
		m.say(fmt.Sprintf("%q does not do: give %s, or Enter for %s.", answer, problem.Want, usual))
	}
}

// whoseTurn finds out in the only way there is.
func (m *Menu) whoseTurn(ctx context.Context) error {
	m.say("The turn shows only by being taken: sending one ping.")
	plan := m.Pings
	plan.Count = 1
	said := ""
	m.pings(ctx, plan, func(event any) {
		switch e := event.(type) {
		case ping.Replied:
			said = m.whoIsNext(e.Server)
		case ping.TimedOut:
			said = noAnswer(e)
		}
	})
	if said != "" {
		m.say(said)
	}
	return nil
}

// whoIsNext says what an answer by this server tells about the next turn.
func (m *Menu) whoIsNext(server string) string {
	if server == ping.Unnamed {
		return "It was answered by a server that does not say its name, so nobody can tell who is next."
	}
	said := fmt.Sprintf("It was %s's turn, and this ping has taken it.", ping.Printable(server))
	if next := ping.OrderOf([]string{server}, m.cycle).Next(); next != "" {
		return said + fmt.Sprintf(" The next turn is expected to be %s's.", ping.Printable(next))
	}
	return said + fmt.Sprintf(" The order of the servers is not known yet: option %s shows it.", usual)
}

func noAnswer(e ping.TimedOut) string {
	if e.Why != "" {
		return fmt.Sprintf("REQUEST TIMED OUT  (%s): the ping did not get there and took no turn.", e.Why)
	}
	return "REQUEST TIMED OUT: if the ping got there, it took a turn, but nobody said whose."
}

func (m *Menu) loadTest(ctx context.Context) error {
	m.remember(m.Runner.Load(ctx, m.Load, report.New(m.Report).Show))
	return nil
}

func (m *Menu) breakSomething(context.Context) error {
	fmt.Fprint(m.Report.Out, whatToType(runtime.GOOS))
	return nil
}

// pings is one run whose result the menu remembers.
func (m *Menu) pings(ctx context.Context, plan ping.Plan, show func(event any)) {
	found, err := m.Runner.Pings(ctx, plan, show)
	if known := found.Order.Cycle(); known != nil {
		m.cycle = known
	}
	m.remember(err)
}

// remember keeps what a run ended with, and says it if its summary did not.
func (m *Menu) remember(err error) {
	m.result = err
	if err != nil && err.Error() != "" {
		fmt.Fprintf(m.Report.Err, "client: %v\n", err)
	}
}

func (m *Menu) say(line string) { fmt.Fprintln(m.Report.Out, line) }

// ask prints the question and returns the trimmed answer, the usual one for an empty
// line. It returns io.EOF at the end of the input, and the context's error when that
// ends first; nothing may be asked after an error.
func (m *Menu) ask(ctx context.Context, text, usual string) (string, error) {
	fmt.Fprintf(m.Report.Out, "%s [%s]: ", text, usual)
	line, err := m.line(ctx)
	if err != nil {
		m.say("")
		return "", err
	}
	answer := strings.TrimSpace(line)
	if m.Echo {
		m.say(ping.Printable(answer))
	}
	return cmp.Or(answer, usual), nil
}

// line reads one line, which the end of the input may end. Nothing can stop a read
// from a terminal: when the context ends first, the read is left to the end of the
// process.
func (m *Menu) line(ctx context.Context) (line string, err error) {
	done := make(chan struct{})
	var read string
	var failed error
	go func() {
		defer close(done)
		read, failed = m.in.ReadString('\n')
	}()
	select {
	case <-done:
		if read != "" {
			failed = nil
		}
		return read, failed
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
