package stack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
)

// process is a program that listens and runs until it is told to end.
type process struct {
	name string // as errors call it
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and all it said is here

	stdout, stderr tail // complete when done is closed
	killed         bool // by us, so that its exit code means nothing
}

// listening is the line by which our programs say where they listen, as far as
// it is of interest here.
type listening struct {
	Event string `json:"event"`
	Addr  string `json:"addr"`
	HTTP  string `json:"http"` // the balancer's page
}

// launch starts a program and waits until it says where it listens. If it ends
// before that, or ctx does, the error has what it said, and nothing runs.
func launch(ctx context.Context, name string, cmd *exec.Cmd) (*process, listening, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, listening{}, err
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &p.stderr
	if err := cmd.Start(); err != nil {
		return nil, listening{}, fmt.Errorf("%s: %w", name, err)
	}
	heard := make(chan listening, 1)
	go func() {
		defer close(p.done)
		p.hear(stdout, heard)
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
	}()
	select {
	case l := <-heard:
		return p, l, nil
	case <-p.done:
	case <-ctx.Done():
		p.kill()
	}
	return nil, listening{}, fmt.Errorf("%s did not say where it listens; it ended with %v\n%s%s", name, cmd.ProcessState, &p.stdout, &p.stderr)
}

// hear keeps what the program says, and passes on where it listens.
func (p *process) hear(stdout io.Reader, heard chan<- listening) {
	for lines := bufio.NewReader(stdout); ; {
		line, err := lines.ReadBytes('\n')
		_, _ = p.stdout.Write(line) // never fails
		var l listening
		if heard != nil && json.Unmarshal(line, &l) == nil && l.Event == "listening" {
			heard <- l
			heard = nil
		}
		if err != nil {
			return
		}
	}
}

// ended says whether the program has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop tells the program to end and waits until it has, or kills it when ctx
// ends.
func (p *process) stop(ctx context.Context) Exit {
	if !p.ended() {
		_ = terminate(p.cmd.Process) // if it fails, the wait below ends it
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill()
	}
	return Exit{p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()}
}

// kill ends the program at once and waits until it is gone.
func (p *process) kill() {
	if !p.ended() {
		p.killed = true
		_ = p.cmd.Process.Kill() // fails only if it has just ended
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
