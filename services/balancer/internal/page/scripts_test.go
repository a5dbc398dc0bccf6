package page

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What the scripts do without a document is tested in their own language, in
// testdata. What a browser makes of them is tested in integration/browser.
func TestTheScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node here; the tests in a browser use the scripts as well")
	}
	files, err := filepath.Glob("testdata/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	tests := exec.CommandContext(t.Context(), node, append([]string{"--test"}, files...)...)
	tests.Env = append(os.Environ(), "TZ=UTC") // that they expect
	if said, err := tests.CombinedOutput(); err != nil {
		t.Errorf("node --test: %v\n%s", err, said)
	}
}
