package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
)

// Process is one of the programs, which listens and runs until it is told to
// end. Its methods may not be called by several goroutines at once.
type Process struct {
	// Addr is where it listens, and URL where the balancer's page is, without
	// a slash at its end.
	Addr, URL string

	name string // as errors call it
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and all it said is here

	stdout, stderr tail // complete when done is closed
	killed         bool // by us, so that its exit code means nothing
}

// listening is how our programs say where they listen, in whichever format they
// log; the balancer has a page too.
var listening = regexp.MustCompile(`listens on ([^\s",]+)(?:, page (http://[^\s",]+))?`)

// Launch starts a program that errors are to call by this name, and waits until
// it says where it listens. It outlives ctx. If it ends before it listens, or
// ctx does, the error has what it said, and nothing runs.
func (p Programs) Launch(ctx context.Context, program, name string, env Env) (*Process, error) {
	cmd := p.Command(context.WithoutCancel(ctx), program, merge(Env{"LOG_FORMAT": "json"}, env))
	return launch(ctx, name, cmd)
}

func launch(ctx context.Context, name string, cmd *exec.Cmd) (*Process, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &p.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	heard := make(chan [][]byte, 1)
	go func() {
		defer close(p.done)
		p.hear(stdout, heard)
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
	}()
	select {
	case found := <-heard:
		p.Addr, p.URL = string(found[1]), string(found[2])
		return p, nil
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
	}
	return nil, fmt.Errorf("%s did not say where it listens; it ended with %v\n%s%s", name, cmd.ProcessState, &p.stdout, &p.stderr)
}

// hear keeps what the program says, and passes on where it listens. From then
// on it does not look at lines any more: there may be many.
func (p *Process) hear(stdout io.Reader, heard chan<- [][]byte) {
	lines := bufio.NewReaderSize(stdout, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = p.stdout.Write(line) // never fails
		if err != nil {
			return
		}
		if found := listening.FindSubmatch(line); found != nil {
			heard <- found
			break
		}
	}
	_, _ = io.Copy(&p.stdout, lines) // ends when the program does
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop tells the program to end and waits until it has, or kills it when ctx
// ends.
func (p *Process) Stop(ctx context.Context) Exit {
	_ = terminate(p.cmd.Process) // if it fails, it has ended or the wait below ends it
	return p.Wait(ctx)
}

// Wait waits until the program has ended, or kills it when ctx ends.
func (p *Process) Wait(ctx context.Context) Exit {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
	}
	return Exit{p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()}
}

// Kill ends the program at once and waits until it is gone.
func (p *Process) Kill() {
	if p.cmd.Process.Kill() == nil { // it fails only if the program has ended
		p.killed = true
	}
	<-p.done
}

// kept is how much of a program's output is kept, in bytes.
const kept = 1 << 20

// tail keeps the end of what is written to it, at least the last bytes that
// kept counts: a lab may run for a whole day.
type tail struct{ bytes []byte }

func (t *tail) Write(p []byte) (int, error) {
	if len(t.bytes)+len(p) > 2*kept {
		t.bytes = append([]byte(nil), t.bytes[max(0, len(t.bytes)-kept):]...)
	}
	t.bytes = append(t.bytes, p...)
	return len(p), nil
}

func (t *tail) String() string { return string(t.bytes) }
