package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestProgramsSeeNoneOfOurVariablesButThoseGiven(t *testing.T) {
	inherited := []string{"PATH=/bin", "BALANCER_WORKERS=7", "LOG_LEVEL=debug", "CLIENT_COUNT=3", "PINGSERVER_LOSS=1"}
	got := environ(inherited, Env{"CLIENT_TARGET": "localhost:1", "BALANCER_HTTP": ""})
	want := []string{"PATH=/bin", "BALANCER_HTTP=", "CLIENT_TARGET=localhost:1"}
	if !slices.Equal(got, want) {
		t.Errorf("environ = %q, want %q", got, want)
	}
	if inherited[1] != "BALANCER_WORKERS=7" {
		t.Errorf("environ changed what it was given: %q", inherited)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var all strings.Builder
	var end tail
	line := []byte(strings.Repeat("x", 99) + "\n")
	for i := range 5 * kept / len(line) {
		line[0] = byte('a' + i%26)
		all.Write(line)
		if n, err := end.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if got := end.String(); !strings.HasSuffix(all.String(), got) || len(got) < kept || len(got) > 2*kept {
		t.Errorf("kept %d bytes, want the last %d to %d", len(got), kept, 2*kept)
	}
}

func TestRootIsWhereTheWorkspaceIs(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "integration", "lab")); err != nil {
		t.Errorf("Root = %s, but this package is not below it: %v", root, err)
	}
	t.Chdir(t.TempDir())
	if root, err := Root(); err == nil {
		t.Errorf("Root = %s in a directory outside the workspace, want an error", root)
	}
}
