package lab

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
)

// Process is one of the programs, which listens and runs until it is told to
// end. Its methods may not be called by several goroutines at once.
type Process struct {
	// Addr is where it listens, and URL where the balancer's page is, without
	// a slash at its end.
	Addr, URL string

	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and all it said is here

	stdout, stderr tail // complete when done is closed
	killed         bool // by us, so that its exit code means nothing
}

// listening is how our programs say where they listen, in whichever format they
// log; the balancer has a page too.
var listening = regexp.MustCompile(`listens on ([^\s",]+)(?:, page (http://[^\s",]+))?.*\n`)

// Launch starts a program that errors are to call by this name, and waits until
// it says where it listens. It outlives ctx. If it ends before it listens, or
// ctx does, the error has what it said, and nothing runs.
func (p Programs) Launch(ctx context.Context, program, name string, env Env) (*Process, error) {
	all := Env{"LOG_FORMAT": "json"}
	maps.Copy(all, env)
	heard := make(chan []string, 1)
	process := &Process{
		cmd: p.Command(context.WithoutCancel(ctx), program, all), done: make(chan struct{}),
		stdout: tail{heard: heard},
	}
	process.cmd.Stdout, process.cmd.Stderr = &process.stdout, &process.stderr
	if err := process.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		defer close(process.done)
		_ = process.cmd.Wait() // the exit code is in cmd.ProcessState
	}()
	select {
	case found := <-heard:
		process.Addr, process.URL = found[1], found[2]
		return process, nil
	case <-process.done:
	case <-ctx.Done():
		process.Kill()
	}
	return nil, fmt.Errorf("%s did not say where it listens; it ended with %v\n%s%s",
		name, process.cmd.ProcessState, process.stdout.bytes, process.stderr.bytes)
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
	return Exit{p.cmd.ProcessState.ExitCode(), string(p.stdout.bytes), string(p.stderr.bytes)}
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
type tail struct {
	bytes []byte
	heard chan<- []string // gets the first match of listening, unless it is nil
}

func (t *tail) Write(p []byte) (int, error) {
	if len(t.bytes)+len(p) > 2*kept {
		t.bytes = append([]byte(nil), t.bytes[max(0, len(t.bytes)-kept):]...)
	}
	t.bytes = append(t.bytes, p...)
	if t.heard != nil {
		if found := listening.FindStringSubmatch(string(t.bytes)); found != nil {
			t.heard <- found
			t.heard = nil // there may be many lines
		}
	}
	return len(p), nil
}
