package scenario

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// Pinged is a client's run as its --json lines tell it.
type Pinged struct {
	// Order is who answered, ping by ping: 1 for server1 and so on, ? for a
	// server without a name, · for no answer.
	Order   string
	Summary Summary
	Exit    lab.Exit
}

// Summary is what scenarios read of the last line.
type Summary struct {
	Received     int     `json:"received"`
	Duplicates   int     `json:"duplicates"`
	NextExpected *string `json:"next_expected"`
	Exit         int     `json:"exit"`
}

// answerTimeout is how long a client waits for an answer that is bound to come.
const answerTimeout = lab.Patience / 2

// Ping runs a client with these arguments and --json and reads what it tells.
// Usable from any goroutine.
func Ping(t *testing.T, stack Stack, args ...string) (Pinged, error) {
	args = append(slices.Clone(args), "--json")
	if !slices.Contains(args, "--timeout") {
		args = append(args, "--timeout", answerTimeout.String())
	}
	exit, err := stack.Client(labtest.Within(t), args...)
	if err != nil {
		return Pinged{}, err
	}
	run := Pinged{Exit: exit}
	for line := range strings.Lines(exit.Stdout) {
		var event struct {
			Type   string  `json:"type"`
			Seq    int     `json:"seq"`
			Server *string `json:"server"`
			Summary
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return Pinged{}, fmt.Errorf("the client printed %q: %w", line, err)
		}
		switch event.Type {
		case "reply":
			if event.Server == nil {
				run.Order += "?"
				break
			}
			run.Order += strings.TrimPrefix(*event.Server, "server")
		case "timeout":
			run.Order += "·"
		case "summary":
			run.Summary = event.Summary
		}
	}
	if run.Summary.Exit != exit.Code {
		return Pinged{}, fmt.Errorf("the client's summary says exit %d, it exited with %d\n%s", run.Summary.Exit, exit.Code, exit.Stderr)
	}
	return run, nil
}

// ExpectOrder runs a client and wants these servers to answer in this order.
func ExpectOrder(t *testing.T, stack Stack, want string, args ...string) Pinged {
	t.Helper()
	count := fmt.Sprint(len([]rune(want)))
	run, err := Ping(t, stack, append([]string{"--count", count, "--interval", "1ms"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	if run.Order != want {
		t.Fatalf("answers came from %s, want %s\n%s", run.Order, want, run.Exit.Stdout)
	}
	return run
}

// ExpectBooksToBalance wants every datagram accounted for and in turn.
func ExpectBooksToBalance(t *testing.T, s lab.Status) {
	t.Helper()
	for _, problem := range s.Unbalanced() {
		t.Error(problem)
	}
}
