package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestProgramsSeeNoneOfOurVariablesButThoseGiven(t *testing.T) {
	for _, name := range []string{"BALANCER_WORKERS", "LOG_LEVEL", "CLIENT_COUNT", "PINGSERVER_LOSS", "OTHER_LOG_LEVEL"} {
		t.Setenv(name, "7")
	}
	env := Programs("").Command(t.Context(), "client", Env{"CLIENT_TARGET": "localhost:1"}).Env
	ours := slices.DeleteFunc(env, func(kv string) bool { return !strings.Contains(kv, "CLIENT_") && !strings.HasSuffix(kv, "=7") })
	if want := []string{"OTHER_LOG_LEVEL=7", "CLIENT_TARGET=localhost:1"}; !slices.Equal(ours, want) {
		t.Errorf("a program sees %q, want %q", ours, want)
	}
}

func TestTailKeepsTheEndAndTellsWhereAProgramListens(t *testing.T) {
	var all strings.Builder
	heard := make(chan []string, 1)
	end := tail{heard: heard}
	write := func(text string) {
		all.WriteString(text)
		if n, err := end.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	write("starting\nballast listens on 127.0.0.1:8888, page http://127.0.")
	if len(heard) > 0 {
		t.Fatalf("heard %q in the middle of a line", <-heard)
	}
	write("0.1:8080\nand listens on [::1]:1\n")
	if got := <-heard; got[1] != "127.0.0.1:8888" || got[2] != "http://127.0.0.1:8080" {
		t.Errorf("heard %q", got)
	}
	for i := range kept / 20 {
		write(string(rune('a'+i%26)) + strings.Repeat("x", 98) + "\n")
	}
	if got := string(end.bytes); !strings.HasSuffix(all.String(), got) || len(got) < kept || len(got) > 2*kept {
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
