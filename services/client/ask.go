package main

import (
	"context"
	"fmt"
	"io"
)

// ask sends one question and shows the answer and who gave it.
func (p program) ask(ctx context.Context, cfg config, words []string) error {
	show := answerReport{out: p.stdout, paint: p.paint()}.show
	if cfg.JSON {
		show = p.reporter(cfg)
	}
	cfg.Count = 1
	_, err := p.exchange(ctx, cfg, oneQuestion(question(words)), show)
	return err
}

// answerReport shows a run of one question.
type answerReport struct {
	out   io.Writer
	paint paint
}

func (a answerReport) show(e event) {
	switch e := e.(type) {
	case replied:
		who := printable(e.server)
		if e.server == unnamed {
			who = "a server that does not say its name"
		}
		fmt.Fprintf(a.out, "%s\nanswered by %s in %s ms\n", printable(e.message), who, millis(e.rtt))
	case timedOut:
		line := a.paint.red("REQUEST TIMED OUT")
		if e.why != "" {
			line += "  (" + e.why + ")"
		}
		fmt.Fprintln(a.out, line)
	}
}
