package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/containers"
)

// environment is where commands run: a lab in containers, or one in processes.
// What is started there ends with the test.
type environment struct {
	root    string
	environ []string
	start   func(*exec.Cmd) error
	// asTyped gives a command the addresses of this environment, asShown gives
	// what was printed those of the documents.
	asTyped, asShown *strings.Replacer
}

// environmentName names a kind of environment.
type environmentName string

const (
	containerLab environmentName = "containers"
	processLab   environmentName = "processes"
)

// newEnvironment makes one for a test, or skips the test.
func newEnvironment(t *testing.T, name environmentName) environment {
	if name == containerLab {
		return newContainerLab(t)
	}
	return newProcessLab(t)
}

// built makes documents that run at once build the image only once.
var built sync.Once

// newContainerLab is a lab of compose beside any other on this machine.
func newContainerLab(t *testing.T) environment {
	docker := containers.Need(t)
	command := composes(t)[0]
	p := newProject(t, command, docker)
	if command[0] == "docker-compose" {
		p.environ = append(p.environ, "PATH="+dockerWithCompose(t)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	built.Do(func() { p.compose("build") })
	// The documents have the usual addresses, this lab its own.
	pairs := []string{
		"localhost:8080", "localhost:" + p.httpPort,
		"localhost:8888", "localhost:" + p.udpPort, "localhost 8888", "localhost " + p.udpPort,
		"172.30.7", p.net,
	}
	typed := strings.NewReplacer(pairs...)
	slices.Reverse(pairs)
	return environment{p.root, p.environ, (*exec.Cmd).Start, typed, strings.NewReplacer(pairs...)}
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

// newProcessLab is a network of its own in which all usual ports are free.
func newProcessLab(t *testing.T) environment {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`^(PINGSERVER|BALANCER|CLIENT|LOG)_`)
	environ := slices.DeleteFunc(os.Environ(), own.MatchString)
	// As in a terminal; and nothing here needs a git that works.
	environ = append(environ, "LOG_FORMAT=pretty", "GOFLAGS=-buildvcs=false")
	same := strings.NewReplacer()
	return environment{root, environ, startInOwnNetwork(t), same, same}
}
