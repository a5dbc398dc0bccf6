package menu

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"udplab/services/client/internal/ping"
)

// prompt asks questions on one reader, be it a terminal or a pipe.
type prompt struct {
	in   *bufio.Reader
	out  io.Writer
	echo bool // nobody sees what is typed: print it
}

// ask prints the question and returns the trimmed answer, the usual one for an empty
// line. It returns io.EOF at the end of the input, and the context's error when that
// ends first; nothing may be asked after an error.
func (p *prompt) ask(ctx context.Context, text, usual string) (string, error) {
	fmt.Fprintf(p.out, "%s [%s]: ", text, usual)
	line, err := p.line(ctx)
	if err != nil {
		fmt.Fprintln(p.out)
		return "", err
	}
	answer := strings.TrimSpace(line)
	if p.echo {
		fmt.Fprintln(p.out, ping.Printable(answer))
	}
	if answer == "" {
		return usual, nil
	}
	return answer, nil
}

// line reads one line, which the end of the input may end. Nothing can stop a read
// from a terminal: when the context ends first, the read is left to the end of the
// process.
func (p *prompt) line(ctx context.Context) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := p.in.ReadString('\n')
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
