package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Programs is a directory with the three programs: "balancer", "pingserver"
// and "client".
type Programs string

// Build builds the three programs into a directory that exists. The flags are
// go build's, such as -race. Its error holds what the compiler said.
func Build(ctx context.Context, dir string, flags ...string) (Programs, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	// Nobody asks these for their version, and a stamp needs a git that works.
	args := append([]string{"build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}, flags...)
	for _, name := range []string{"balancer", "pingserver", "client"} {
		args = append(args, "udplab/services/"+name)
	}
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return Programs(dir), nil
}

// Root is the directory of the workspace: the nearest one with a go.work, from
// the working directory upwards.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.work in %s or above: run this inside the workspace", start)
		}
	}
}

// Env is variables and their values.
type Env map[string]string

// prefixes of the variables that our programs read. Those of the environment
// that we were started in are not passed on: a stack is what its Config says.
var prefixes = []string{"BALANCER_", "PINGSERVER_", "CLIENT_", "LOG_"}

// environ is an environment with our own variables replaced by these.
func environ(inherited []string, ours Env) []string {
	list := slices.DeleteFunc(slices.Clone(inherited), func(kv string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(kv, p) })
	})
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		list = append(list, name+"="+ours[name])
	}
	return list
}

// stopLimit is how long a program that was told to end may take, longer than
// any drain of ours.
const stopLimit = Patience

// Command is one of the programs, ready to run in a process group of its own,
// with these variables and none of our own that this process happens to have.
// When ctx ends it is told to end, and killed if it has not after a while.
func (p Programs) Command(ctx context.Context, program string, env Env, args ...string) *exec.Cmd {
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	cmd := exec.CommandContext(ctx, filepath.Join(string(p), program), args...)
	cmd.Env = environ(os.Environ(), env)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = stopLimit
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
