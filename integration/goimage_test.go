package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/containers"
	"udplab/integration/lab/labtest"
)

// goImage runs the script integration/goimage with these variables.
func goImage(t *testing.T, environ ...string) lab.Exit {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the script is for a shell")
	}
	cmd := exec.CommandContext(labtest.Within(t), "./goimage")
	cmd.Env = append(os.Environ(), environ...)
	exit, err := lab.Run(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// pathWith is a directory that has these programs of the machine, and one more
// for each script.
func pathWith(t *testing.T, scripts map[string]string, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir
}

var ownName = regexp.MustCompile(`^udplab-go:1\.[\w.-]+\n$`)

func TestGoImageSaysWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name    string
		scripts map[string]string
		want    string
	}{
		{"docker", nil, "goimage: there is neither docker nor podman: "},
		{"a daemon", map[string]string{"docker": "exit 1"}, "goimage: docker does not answer: "},
		{"Go", map[string]string{"podman": "exit 0"}, "goimage: go is missing: "},
		{"a Go for containers", map[string]string{"podman": "exit 0", "go": "echo darwin"}, "goimage: this Go is for darwin "},
	} {
		t.Run(c.name, func(t *testing.T) {
			exit := goImage(t, pathWith(t, c.scripts, "bash", "dirname"))
			if exit.Code != 2 || exit.Stdout != "" || !strings.HasPrefix(exit.Stderr, c.want) || strings.Count(exit.Stderr, "\n") != 1 {
				t.Errorf("exit %d, stdout %q, stderr %q, want exit 2 and one line %s…", exit.Code, exit.Stdout, exit.Stderr, c.want)
			}
		})
	}
}

// TestGoImageImportsWithPodman plays podman: its image is made under our own
// name and tried, or it is there.
func TestGoImageImportsWithPodman(t *testing.T) {
	if testing.Short() {
		t.Skip("reading all of Go takes more than a short test has")
	}
	log := filepath.Join(t.TempDir(), "log")
	podman := map[string]string{"podman": `
echo "$@" >>` + log + `
case $1 in
image) exit 1 ;; # there is none
import) cat >/dev/null ;;
esac`}
	exit := goImage(t, pathWith(t, podman, "bash", "cat", "chmod", "cksum", "cp", "cut", "dirname", "go", "ln", "mkdir", "mktemp", "rm", "sed", "tar", "tr"))
	calls, err := os.ReadFile(log)
	if err != nil || exit.Code != 0 || !ownName.MatchString(exit.Stdout) {
		t.Fatalf("exit %d, stdout %q, stderr %q, %v", exit.Code, exit.Stdout, exit.Stderr, err)
	}
	for _, want := range []string{
		"ENV GOTOOLCHAIN=local ",
		" - " + exit.Stdout,
		"run --rm --network none " + strings.TrimSpace(exit.Stdout) + " go version\n",
	} {
		if !strings.Contains(string(calls), want) {
			t.Errorf("podman was not asked for %q, but for\n%s", want, calls)
		}
	}
}

func TestGoImageIsMadeOnce(t *testing.T) {
	containers.Need(t)
	first := goImage(t)
	if first.Code != 0 || !ownName.MatchString(first.Stdout) {
		t.Fatalf("exit %d, stdout %q, stderr %q", first.Code, first.Stdout, first.Stderr)
	}
	id := func() string {
		id, err := containers.Docker(t.Context(), "image", "inspect", "--format={{.Id}}", strings.TrimSpace(first.Stdout))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	made := id()
	if again := goImage(t); again != (lab.Exit{Stdout: first.Stdout}) || id() != made {
		t.Errorf("the second run ended with %+v and image %s, want %s and image %s", again, id(), first.Stdout, made)
	}
}
