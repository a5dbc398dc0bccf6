package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Programs is a directory with the three programs: "balancer", "pingserver"
// and "client".
type Programs string

// Build builds the three programs into a directory that exists, from anywhere
// in the workspace. The flags are go build's, such as -race. Its error holds
// what the compiler said.
func Build(ctx context.Context, dir string, flags ...string) (Programs, error) {
	// Nobody asks these for their version, and a stamp needs a git that works.
	args := slices.Concat([]string{"build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}, flags,
		[]string{"udplab/services/balancer", "udplab/services/pingserver", "udplab/services/client"})
	if said, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return Programs(dir), nil
}

// Root is the directory of the workspace that the working directory is in.
func Root() (string, error) {
	file, err := exec.Command("go", "env", "GOWORK").Output()
	root := filepath.Dir(strings.TrimSpace(string(file)))
	if err == nil && root == "." {
		err = errors.New("this is no workspace of Go")
	}
	return root, err
}

// Env is variables and their values.
type Env map[string]string

// ours matches the variables that our programs read. Those of the environment
// that we were started in are not passed on: a stack is what its Config says.
var ours = regexp.MustCompile(`^(BALANCER|PINGSERVER|CLIENT|LOG)_`)

// Command is one of the programs, ready to run in a process group of its own,
// with these variables and none of our own that this process happens to have.
// When ctx ends it is told to end, and killed if it has not after a while.
func (p Programs) Command(ctx context.Context, program string, env Env, args ...string) *exec.Cmd {
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	cmd := exec.CommandContext(ctx, filepath.Join(string(p), program), args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), ours.MatchString)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = Patience // longer than any drain of ours
	ownGroup(cmd)
	return cmd
}

// Exit is how a program ended and what it said.
type Exit struct {
	Code           int // -1: ended by a signal
	Stdout, Stderr string
}

// Run runs a program with nothing to read until its end. It fails as the
// function Run does.
func (p Programs) Run(ctx context.Context, program string, env Env, args ...string) (Exit, error) {
	return Run(ctx, p.Command(ctx, program, env, args...))
}

// Run runs a command of ctx with nothing to read until its end. An exit code is
// no error; that it could not run, or that ctx ended first, is.
func Run(ctx context.Context, cmd *exec.Cmd) (Exit, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var code *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Exit{}, fmt.Errorf("%s did not end: %w\n%s%s", cmd, ctx.Err(), stdout.Bytes(), stderr.Bytes())
	case err != nil && !errors.As(err, &code):
		return Exit{}, fmt.Errorf("%s: %w", cmd, err)
	}
	return Exit{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}
