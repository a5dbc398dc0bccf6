package integration

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"udplab/integration/lab/containers"
	"udplab/services/kit/nettest"
)

// environment is where commands run: a lab in containers, or one in processes.
// What is started there ends with the test.
type environment struct {
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
var newEnvironment = map[environmentName]func(*testing.T) environment{
	containerLab: newContainerLab,
	processLab:   newProcessLab,
}

// built makes documents that run at once build the image only once.
var built sync.Once

// newContainerLab is a lab of compose beside any other on this machine.
func newContainerLab(t *testing.T) environment {
	containers.Need(t)
	command := composes(t)[0]
	p := newProject(t, command)
	built.Do(func() { p.compose("build") })
	// The documents have the usual command and addresses, this lab its own.
	pairs := []string{
		"docker compose", strings.Join(command, " "),
		"localhost:8080", "localhost:" + p.httpPort,
		"localhost:8888", "localhost:" + p.udpPort, "localhost 8888", "localhost " + p.udpPort,
		"172.30.7", p.net,
	}
	typed := strings.NewReplacer(pairs...)
	slices.Reverse(pairs)
	// What compose draws over its own lines could not be read from top to bottom.
	environ := append(p.environ, "COMPOSE_PROGRESS=plain", "COMPOSE_MENU=false", "COMPOSE_ANSI=never", "TERM=dumb")
	return environment{environ, (*exec.Cmd).Start, typed, strings.NewReplacer(pairs...)}
}

// newProcessLab is a network of its own in which all usual ports are free.
func newProcessLab(t *testing.T) environment {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("UDPLAB_REQUIRE_OWNNET") != "1" {
		t.Skip("the documents' ports may be taken here, and only root can make a network in which they are free")
	}
	own := regexp.MustCompile(`^(PINGSERVER|BALANCER|CLIENT|LOG)_`)
	environ := slices.DeleteFunc(os.Environ(), own.MatchString)
	// As in a terminal; and nothing here needs a git that works.
	environ = append(environ, "LOG_FORMAT=pretty", "GOFLAGS=-buildvcs=false")
	same := strings.NewReplacer()
	return environment{environ, nettest.NewNetwork(t).Start, same, same}
}
