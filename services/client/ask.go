package main

import (
	"context"
	"fmt"
	"io"
)

// ask sends one question and shows the answer and who gave it, or, if it is to
// be quiet, the answer alone.
func (p client) ask(ctx context.Context, cfg settings, words []string) error {
	show := answerReport{out: p.stdout, err: p.stderr, quiet: cfg.Quiet, paint: p.paint()}.show
	if cfg.JSON {
		show = p.reporter(cfg)
	}
	cfg.Count = 1
	_, err := p.exchange(ctx, cfg, oneQuestion(question(words)), show)
	return err
}

// answerReport shows a run of one question.
type answerReport struct {
	out, err io.Writer
	quiet    bool // out gets the answer only
	paint    paint
}

func (a answerReport) show(e event) {
	switch e := e.(type) {
	case replied:
		if a.quiet {
			fmt.Fprintln(a.out, printable(e.message))
			return
		}
		who := printable(e.server)
		if e.server == unnamed {
			who = "a server that does not say its name"
		}
		fmt.Fprintf(a.out, "%s\nanswered by %s in %s ms\n", printable(e.message), who, millis(e.rtt))
	case timedOut:
		out, line := a.out, a.paint.red("REQUEST TIMED OUT")
		if a.quiet {
			out, line = a.err, "client: REQUEST TIMED OUT"
		}
		if e.why != "" {
			line += "  (" + e.why + ")"
		}
		fmt.Fprintln(out, line)
	}
}
