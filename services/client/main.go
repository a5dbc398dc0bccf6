// Command client asks the balancer and shows who answers. Its plain form is
// the assignment's: `client HOST PORT` sends ten pings, waits up to a second
// for each answer and prints the answer and its round-trip time, or REQUEST
// TIMED OUT.
//
// It never retries: a retry would take a turn of the balancer's rotation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/program"
)

func main() { program.Main("client", run) }

func run(ctx context.Context) error {
	return client{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		args: os.Args[1:], environ: os.Environ(),
		isTerminal: logging.IsTerminal, dial: dial, batched: openBatched,
	}.run(ctx)
}

// client is the client and everything of the world that it touches.
type client struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	args           []string // without the program's name
	environ        []string // as os.Environ gives it
	isTerminal     func(file any) bool
	dial           dialer
	batched        batchOpener // nil: loads send one datagram per system call
}

// run does what the command line asks for, unless its output cannot be written.
// Its error says how the process is to exit, as program.ExitCode reads it.
func (p client) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &output{to: p.stdout, failed: cancel}
	p.stdout, p.isTerminal = out, throughOutput(p.isTerminal)
	return out.verdict(p.obey(ctx))
}

// obey does what the command line asks for.
func (p client) obey(ctx context.Context) error {
	command, args := p.command()
	var cfg settings
	var words []string
	from := config.Source{Prefix: "CLIENT_", Args: args, Environ: p.environ, Refused: misplaced[command], Arguments: target}
	switch command {
	case "ask":
		from.Arguments = func(args []string) (map[string]string, error) {
			words = args
			return nil, checkQuestion(args)
		}
	case "load":
		from.Args = append(slices.Clone(loadDefaults), args...)
	}
	warnings, err := config.Load(&cfg, from)
	for _, warning := range warnings {
		fmt.Fprintf(p.stderr, "client: %s\n", warning)
	}
	switch {
	case errors.Is(err, config.ErrHelp):
		config.Help(p.stdout, usage, &cfg)
		return nil
	case err != nil:
		return err
	case emptyCycle(from):
		return config.Problems{config.Problem{Name: "--expect-cycle", Want: wantCycle + ", or no such flag"}}
	case command == "menu" && cfg.JSON:
		return config.Problems{config.Problem{Name: "--json", Value: "true", Want: "no menu: it is for people"}}
	case command == "menu":
		return p.menu(ctx, cfg)
	case command == "ask":
		return p.ask(ctx, cfg, words)
	case command == "load":
		return p.load(ctx, cfg)
	}
	return p.ping(ctx, cfg)
}

// command splits the command line into what to do and the rest.
func (p client) command() (command string, args []string) {
	if len(p.args) == 0 {
		if p.isTerminal(p.stdin) {
			return "menu", nil
		}
		return "ping", nil
	}
	switch p.args[0] {
	case "ping", "ask", "load", "menu":
		return p.args[0], p.args[1:]
	}
	return "ping", p.args
}

// ping is the plain form: one run, its summary, and the epilogue.
func (p client) ping(ctx context.Context, cfg settings) error {
	_, err := p.exchange(ctx, cfg, pings, p.reporter(cfg))
	if err == nil || program.ExitCode(err) == 1 {
		p.epilogue(cfg)
	}
	return err
}

// epilogue prints what stands after the summary.
func (p client) epilogue(cfg settings) {
	if text := cfg.epilogue(); text != "" && !cfg.JSON {
		fmt.Fprintln(p.stdout, text)
	}
}

// reporter is how a run of pings is shown.
func (p client) reporter(cfg settings) func(event) {
	if cfg.JSON {
		return jsonReport{out: p.stdout, err: p.stderr, quiet: cfg.Quiet}.show
	}
	return p.textReport(cfg).show
}

func (p client) textReport(cfg settings) textReport {
	return textReport{out: p.stdout, err: p.stderr, quiet: cfg.Quiet, paint: p.paint()}
}
