package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/containers"
	"udplab/integration/lab/labtest"
	"udplab/integration/scenario"
)

// nameOf tells one function that opens a stage from another.
func nameOf(open func(*testing.T) stage) string {
	return runtime.FuncForPC(reflect.ValueOf(open).Pointer()).Name()
}

// status asks the balancer that the document has started. ok is false if none
// answers.
func (p *player) status() (status lab.Status, ok bool) {
	a := p.run("curl -s localhost:8080/api/status")
	ok = a.err == nil && a.code == 0 && json.Unmarshal([]byte(a.stdout), &status) == nil
	return status, ok
}

// audit wants every turn to have been in order and every datagram accounted
// for, if there is a balancer by now.
func (p *player) audit() {
	p.t.Helper()
	if status, ok := p.status(); ok {
		scenario.ExpectBooksToBalance(p.t, status)
	}
}

// waitFor waits until the balancer takes a server for up.
func (p *player) waitFor(server string) {
	p.t.Helper()
	labtest.Eventually(p.t, server+" is up", func(context.Context) error {
		if status, _ := p.status(); !status.Backend(server).Up {
			return fmt.Errorf("the status is %+v", status)
		}
		return nil
	})
}

// shell is a command in a shell, at the root of the workspace.
func shell(ctx context.Context, line string, environ ...[]string) *exec.Cmd {
	if os.Geteuid() == 0 {
		line = strings.TrimPrefix(line, "sudo ")
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Cancel = func() error { killGroup(cmd); return nil }
	cmd.Env = slices.Concat(environ...)
	return cmd
}

// containerStage is a lab of compose, beside whatever else runs here.
type containerStage struct {
	project
	path  string            // with a docker that has the command compose
	local *strings.Replacer // of the documents' addresses by this lab's
	shown *strings.Replacer // and back
}

// built makes documents that are played at once build the image only once.
var built sync.Once

func inContainers(t *testing.T) stage {
	containers.Need(t)
	command := composes(t)[0]
	s := &containerStage{project: newProject(t, command, containers.GoImage(t)), path: os.Getenv("PATH")}
	if command[0] == "docker-compose" {
		s.path = dockerWithCompose(t) + string(filepath.ListSeparator) + s.path
	}
	built.Do(func() { s.compose("build") })
	// The documents have the usual addresses, this lab its own.
	pairs := []string{
		"localhost:8080", "localhost:" + s.httpPort,
		"localhost:8888", "localhost:" + s.udpPort, "localhost 8888", "localhost " + s.udpPort,
		"172.30.7", s.net,
	}
	s.local = strings.NewReplacer(pairs...)
	slices.Reverse(pairs)
	s.shown = strings.NewReplacer(pairs...)
	return s
}

// dockerWithCompose is a directory with a docker whose command compose is the
// older program of that name.
func dockerWithCompose(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = compose ] || exec %s \"$@\"\nshift\nexec docker-compose \"$@\"\n", docker)
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *containerStage) command(ctx context.Context, line string, environ []string) *exec.Cmd {
	cmd := shell(ctx, s.local.Replace(line), s.project.environ, []string{"PATH=" + s.path}, environ)
	cmd.Dir = s.root
	return cmd
}

func (s *containerStage) start(cmd *exec.Cmd) error { return cmd.Start() }

func (s *containerStage) asShown(printed string) string { return s.shown.Replace(printed) }

// end leaves the containers to the project's own clean-up.
func (s *containerStage) end() {}

// processStage is a network of its own in which all usual ports are free, for
// a lab of processes.
type processStage struct {
	*network
	root    string
	environ []string
}

func inProcesses(t *testing.T) stage {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`^(PINGSERVER|BALANCER|CLIENT|LOG)_`)
	environ := slices.DeleteFunc(os.Environ(), own.MatchString)
	// As in a terminal; and nothing here needs a git that works.
	environ = append(environ, "LOG_FORMAT=pretty", "GOFLAGS=-buildvcs=false")
	return &processStage{network: newNetwork(t), root: root, environ: environ}
}

func (s *processStage) command(ctx context.Context, line string, environ []string) *exec.Cmd {
	cmd := shell(ctx, line, s.environ, environ)
	cmd.Dir = s.root
	return cmd
}

func (s *processStage) asShown(printed string) string { return printed }
