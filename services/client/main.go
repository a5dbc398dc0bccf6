// Command client asks the balancer and shows who answers. Its plain form is the
// assignment's: `client HOST PORT` sends ten pings, waits up to a second for each
// answer and prints the answer and its round-trip time, or REQUEST TIMED OUT.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"udplab/services/client/internal/menu"
	"udplab/services/client/internal/report"
	"udplab/services/client/internal/runner"
	"udplab/services/client/internal/transport"
	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/program"
)

func main() { program.Main("client", run) }

func run(ctx context.Context) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGQUIT) // Ctrl-\, as in ping; Windows never sends it
	return client{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		args: os.Args[1:], environ: os.Environ(),
		isTerminal: logging.IsTerminal, dial: transport.Dial, statusRequests: asked,
	}.run(ctx)
}

// client is the client and everything of the world that it touches.
type client struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	args           []string // without the program's name
	environ        []string // as os.Environ gives it
	isTerminal     func(file any) bool
	dial           transport.Dialer
	statusRequests <-chan os.Signal
}

// run does what the command line asks for, unless its output cannot be written: a
// run whose results nobody gets must not pass for one that went well. Its error says
// how the process is to exit, as program.ExitCode reads it.
func (c client) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &output{to: c.stdout, failed: cancel}
	if err := c.dispatch(ctx, out); out.err == nil {
		return err
	}
	return program.CannotStart(fmt.Errorf("output: %w", out.err))
}

// output is where results go. It keeps the first error of a write, and says at once
// that there was one.
type output struct {
	to     io.Writer
	failed func() // called at the first error
	err    error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
		o.failed()
	}
	return n, err
}

// dispatch does what the command line asks for.
func (c client) dispatch(ctx context.Context, out io.Writer) error {
	command, args := c.command()
	cfg, warnings, err := loadSettings(command, args, c.environ)
	for _, warning := range warnings {
		fmt.Fprintf(c.stderr, "client: %s\n", warning)
	}
	if errors.Is(err, config.ErrHelp) {
		config.Help(out, usage, &cfg)
		return nil
	}
	if err != nil {
		return err
	}

	runs := runner.Runner{Target: string(cfg.Target), MaxLoss: cfg.MaxLoss, Dial: c.dial, StatusRequests: c.statusRequests}
	options := report.Options{
		Out: out, Err: c.stderr, JSON: cfg.JSON, Answer: command == "ask", Quiet: cfg.Quiet,
		Colour: c.escapes(c.stdout), InPlace: c.escapes(c.stderr),
	}
	show := report.New(options).Show
	switch command {
	case "menu":
		loads := cfg
		loads.Count = 0 // how many pings are usual is no limit for a load
		m := menu.Menu{
			In: c.stdin, Echo: !c.isTerminal(c.stdin), Runner: runs, Report: options,
			Pings: cfg.pings(), Load: loads.load(), SetFlag: setFlag,
		}
		return m.Show(ctx)
	case "load":
		err = runs.Load(ctx, cfg.load(), show)
	default:
		_, err = runs.Pings(ctx, cfg.pings(), show)
	}
	if text := strings.TrimRight(cfg.Epilogue, "\n"); text != "" && command != "ask" && !cfg.JSON && program.ExitCode(err) < 2 {
		fmt.Fprintln(out, text)
	}
	return err
}

// command splits the command line into what to do and the rest.
func (c client) command() (command string, args []string) {
	if len(c.args) == 0 && c.isTerminal(c.stdin) {
		return "menu", nil
	}
	if len(c.args) > 0 && slices.Contains([]string{"ping", "ask", "load", "menu"}, c.args[0]) {
		return c.args[0], c.args[1:]
	}
	return "ping", c.args
}

// escapes says whether escape sequences may be written to a file.
func (c client) escapes(file any) bool {
	return c.isTerminal(file) && report.Escapes(file, c.environ)
}
