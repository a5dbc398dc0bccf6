package menu

import (
	"strings"
	"testing"
)

func TestWhatToTypeIsForTheShellOfTheSystem(t *testing.T) {
	for system, want := range map[string][]string{
		"linux":   {"export PINGSERVER_LOSS=0.36 ", "unset PINGSERVER_LOSS", "$env:PINGSERVER_LOSS=", "  PINGSERVER_DELAY=800ms go run"},
		"windows": {`  $env:PINGSERVER_DELAY="800ms"`, "Remove-Item Env:PINGSERVER_*", `$env:PINGSERVER_LOSS="0.36"; go run`},
	} {
		text := whatToType(system)
		for _, each := range append(want, "its turns time out until the balancer notices") {
			if !strings.Contains(text, each) {
				t.Errorf("%s: no %q in\n%s", system, each, text)
			}
		}
	}
	if text := whatToType("windows"); strings.Contains(text, "export") || strings.Contains(text, "unset") {
		t.Errorf("PowerShell knows no such command:\n%s", text)
	}
}
