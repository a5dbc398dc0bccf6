package scenario

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Status is what scenarios read of the balancer's /api/status.
type Status struct {
	Next            *string           `json:"next"`
	Received        uint64            `json:"received"`
	Forwarded       uint64            `json:"forwarded"`
	Replied         uint64            `json:"replied"`
	DroppedTotal    uint64            `json:"dropped_total"`
	Dropped         map[string]uint64 `json:"dropped"`
	Turns           uint64            `json:"turns"`
	OrderViolations uint64            `json:"order_violations"`
	Sessions        uint64            `json:"sessions"`
	Backends        []Backend         `json:"backends"`
}

// Backend is what scenarios read of one server.
type Backend struct {
	Name      string `json:"name"`
	Up        bool   `json:"up"`
	Turns     uint64 `json:"turns"`
	Forwarded uint64 `json:"forwarded"`
}

// StatusOf asks a balancer for its state.
func StatusOf(t *testing.T, stack Stack) Status {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, stack.URL()+"/api/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true // no connection stays open that somebody might count
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var status Status
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("/api/status: %s, %v", answer.Status, err)
	}
	return status
}

// up says whether a server is up.
func (s Status) up(name string) bool {
	return slices.ContainsFunc(s.Backends, func(b Backend) bool { return b.Name == name && b.Up })
}

// Pinged is a client's run as its --json lines tell it.
type Pinged struct {
	// Order is who answered, ping by ping: 1 for server1 and so on, ? for a
	// server without a name, · for no answer.
	Order   string
	Summary Summary
	Exit    Exit
}

// Summary is what scenarios read of the last line.
type Summary struct {
	Sent         int     `json:"sent"`
	Received     int     `json:"received"`
	Late         int     `json:"late"`
	Duplicates   int     `json:"duplicates"`
	NextExpected *string `json:"next_expected"`
	Exit         int     `json:"exit"`
}

// Ping runs a client with these arguments and --json and reads what it tells.
// Usable from any goroutine.
func Ping(t *testing.T, stack Stack, args ...string) (Pinged, error) {
	exit, err := stack.Client(within(t), append(slices.Clone(args), "--json")...)
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
			run.Order += label(event.Server)
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

func label(server *string) string {
	if server == nil {
		return "?"
	}
	return strings.TrimPrefix(*server, "server")
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
func ExpectBooksToBalance(t *testing.T, s Status) {
	t.Helper()
	if s.Received != s.Forwarded+s.DroppedTotal {
		t.Errorf("%d received, but %d forwarded and %d dropped", s.Received, s.Forwarded, s.DroppedTotal)
	}
	turns, forwarded := uint64(0), uint64(0) // the servers' own counts are kept apart
	for _, b := range s.Backends {
		turns, forwarded = turns+b.Turns, forwarded+b.Forwarded
	}
	if took := s.Forwarded + s.Dropped["held"] + s.Dropped["no_socket"] + s.Dropped["send_failed"]; turns != took || forwarded != s.Forwarded {
		t.Errorf("%d took a turn and %d were forwarded, but the servers had %d and %d", took, s.Forwarded, turns, forwarded)
	}
	if s.OrderViolations != 0 {
		t.Errorf("%d turns out of order", s.OrderViolations)
	}
}
