package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// status is what is of interest in /api/status.
type status struct {
	Started         string            `json:"started"`
	Next            *string           `json:"next"`
	Received        uint64            `json:"received"`
	Forwarded       uint64            `json:"forwarded"`
	Replied         uint64            `json:"replied"`
	DroppedTotal    uint64            `json:"dropped_total"`
	Dropped         map[string]uint64 `json:"dropped"`
	Turns           uint64            `json:"turns"`
	OrderViolations uint64            `json:"order_violations"`
	Sessions        uint64            `json:"sessions"`
	Backends        []struct {
		Name      string  `json:"name"`
		Up        bool    `json:"up"`
		Since     string  `json:"since"`
		Addr      *string `json:"addr"`
		Turns     uint64  `json:"turns"`
		Forwarded uint64  `json:"forwarded"`
	} `json:"backends"`
}

func (s status) String() string {
	text := fmt.Sprintf("%d received, %d forwarded, %d dropped, %d replied, %d turns, %d sessions",
		s.Received, s.Forwarded, s.DroppedTotal, s.Replied, s.Turns, s.Sessions)
	for _, b := range s.Backends {
		at := "nowhere"
		if b.Addr != nil {
			at = *b.Addr
		}
		text += fmt.Sprintf(", %s at %s up: %v since %s", b.Name, at, b.Up, b.Since)
	}
	return text
}

// wrong says what the balancer must never say of itself.
func (s status) wrong() (found []string) {
	if s.Received != s.Forwarded+s.DroppedTotal {
		found = append(found, fmt.Sprintf("%d received, but %d forwarded and %d dropped", s.Received, s.Forwarded, s.DroppedTotal))
	}
	turns, forwarded := uint64(0), uint64(0) // the servers' own counts are kept apart
	for _, b := range s.Backends {
		turns, forwarded = turns+b.Turns, forwarded+b.Forwarded
	}
	if took := s.Forwarded + s.Dropped["held"] + s.Dropped["no_socket"] + s.Dropped["send_failed"]; turns != took || forwarded != s.Forwarded {
		found = append(found, fmt.Sprintf("%d took a turn and %d were forwarded, but the servers had %d and %d", took, s.Forwarded, turns, forwarded))
	}
	if s.OrderViolations != 0 {
		found = append(found, fmt.Sprintf("%d turns out of order by the balancer's own check", s.OrderViolations))
	}
	return found
}

// placed says whether every server is up where it really is.
func (s status) placed(places map[string]netip.Addr) bool {
	for _, b := range s.Backends {
		place := places[b.Name]
		if !place.IsValid() || b.Addr == nil || *b.Addr != place.String()+":"+Port {
			return false
		}
	}
	return true
}

// allUp says whether every server is up.
func (s status) allUp() bool {
	for _, b := range s.Backends {
		if !b.Up {
			return false
		}
	}
	return true
}

// states is what the balancer thinks of each server, and since when.
func (s status) states() (all []State) {
	for _, b := range s.Backends {
		all = append(all, State{b.Up, b.Since})
	}
	return all
}

// askStatus asks a balancer for its state.
func askStatus(ctx context.Context, url string) (s status, err error) {
	err = ask(ctx, url+"/api/status", func(body io.Reader) error { return json.NewDecoder(body).Decode(&s) })
	return s, err
}

// askTurns asks a balancer for the turns after one, up to the first that still
// waits for its answer, and how many before them it has forgotten.
func askTurns(ctx context.Context, url string, after uint64) (turns []Turn, missed uint64, err error) {
	err = ask(ctx, fmt.Sprintf("%s/api/ledger?after=%d", url, after), func(body io.Reader) error {
		for lines := json.NewDecoder(body); ; {
			var line struct {
				Missed  uint64 `json:"missed"`
				Turn    uint64 `json:"turn"`
				Place   int    `json:"place"`
				Outcome string `json:"outcome"`
				Reply   string `json:"reply"`
				Exact   bool   `json:"rtt_exact"`
			}
			switch err := lines.Decode(&line); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case line.Turn == 0:
				missed += line.Missed
			case line.Outcome == "waiting":
				return nil
			default:
				if !line.Exact { // it may be another turn's
					line.Reply = ""
				}
				turns = append(turns, Turn{line.Turn, line.Place, line.Reply})
			}
		}
	})
	return turns, missed, err
}

// ask reads a page of a balancer's, which answers at once or not at all. No
// connection stays open that somebody might count.
func ask(ctx context.Context, url string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	direct := http.Transport{DisableKeepAlives: true} // no proxy, whatever the environment says
	answer, err := direct.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	if err := read(answer.Body); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}
