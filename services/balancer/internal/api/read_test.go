package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/view"
)

// more gives a balancer n more turns, all forwarded, by one client.
func (b *balancer) more(at time.Time, n int, client string) {
	pending := make([]ledger.Outstanding, len(b.Facts.Servers))
	for range n {
		b.turn(at, client, pending)
	}
}

// turn gives a balancer one more turn.
func (b *balancer) turn(at time.Time, client string, pending []ledger.Outstanding) {
	number := b.Ledger.Last()
	backend := int(number) % len(pending)
	b.Ledger.Received(at, []ledger.Request{{
		Client: netip.MustParseAddrPort(client), Bytes: 19, Turn: number, Backend: backend, Outstanding: &pending[backend],
	}})
}

func TestTheLedgerIsToldInLinesOfJSON(t *testing.T) {
	b := newBalancer("server1", "server2")
	answer := b.ask("GET", "localhost", "/api/ledger")
	if got := answer.Header().Get("Content-Type"); got != "application/jsonl; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	want := []string{
		`{"turn":1,"at":"TIME","client":"127.0.0.1:4000","new_client":true,"server":"server1","place":1,"bytes":19,"outcome":"answered","rtt_ms":0.412,"rtt_exact":true,"reply":"PING 1 10:04:05.120 server1","reply_bytes":27}`,
		`{"turn":2,"at":"TIME","client":"127.0.0.1:4000","server":"server2","place":2,"bytes":19,"outcome":"silent","rtt_ms":null}`,
		`{"turn":3,"at":"TIME","client":"127.0.0.1:4000","server":"server1","place":1,"bytes":19,"outcome":"dropped","reason":"send_failed","rtt_ms":null}`,
	}
	const restarted = `{"restarted":true}`
	for after, lines := range map[string][]string{
		"": want, "?after=0": want, "?after=1": want[1:], "?after=3": nil,
		"?after=99": append([]string{restarted}, want...), "?after=18446744073709551615": append([]string{restarted}, want...),
	} {
		got := strings.Split(strings.TrimSpace(b.ask("GET", "localhost", "/api/ledger"+after).Body.String()), "\n")
		if len(lines) == 0 {
			if got[0] != "" {
				t.Errorf("%s: %s", after, got)
			}
			continue
		}
		if len(got) != len(lines) {
			t.Fatalf("%s: %d lines, want %d", after, len(got), len(lines))
		}
		for i, line := range got {
			if line == restarted && line == lines[i] {
				continue
			}
			var turn view.Turn
			if err := json.Unmarshal([]byte(line), &turn); err != nil {
				t.Fatal(err)
			}
			at, _ := json.Marshal(turn.At)
			if line = strings.Replace(line, string(at), `"TIME"`, 1); line != lines[i] {
				t.Errorf("%s: line %d is\n%s, want\n%s", after, i+1, line, lines[i])
			}
		}
	}
}

func TestTurnsThatTheLedgerHasForgottenAreReported(t *testing.T) {
	b := newBalancer("server1", "server2")
	b.more(time.Now(), ledger.Size+100, "127.0.0.1:4000") // 3 were there before
	lines := strings.Split(strings.TrimSpace(b.ask("GET", "localhost", "/api/ledger?after=5").Body.String()), "\n")
	if lines[0] != `{"missed":98}` || len(lines) != 1+ledger.Size {
		t.Errorf("%d lines, the first is %s", len(lines), lines[0])
	}
	if !strings.HasPrefix(lines[1], `{"turn":104,`) {
		t.Errorf("the second is %s", lines[1])
	}
}

func TestABadQueryIsAnsweredInOneClearLine(t *testing.T) {
	b := newBalancer("server1")
	for query, part := range map[string]string{
		"after=":                     `after: "" is not the number of a turn`,
		"after=-1":                   `after: "-1" is not`,
		"after=1.5":                  `after: "1.5" is not`,
		"after=+1":                   `after: " 1" is not`,
		"after=18446744073709551616": `after: "18446744073709551616" is not`,
		"after=1&after=2":            "after is given 2 times",
		"before=1":                   `"before" is not understood: only after=N is`,
		"after=%zz":                  "the query cannot be read",
		"after=1;x":                  "the query cannot be read",
		"after=a%0Ab":                `"a\nb"`,
	} {
		for _, path := range []string{"/api/ledger?", "/events?"} {
			answer := b.ask("GET", "localhost", path+query)
			text := answer.Body.String()
			if answer.Code != http.StatusBadRequest || !strings.Contains(text, part) || strings.Count(text, "\n") != 1 {
				t.Errorf("%s%s: %d %q", path, query, answer.Code, text)
			}
		}
	}
}

// Whatever a reader says that it knows, it is read as it stands or refused in
// one line.
func FuzzLastKnown(f *testing.F) {
	started := time.Date(2026, 1, 2, 10, 4, 5, 123456789, time.UTC)
	for _, seed := range [][2]string{
		{"", ""}, {"after=0", ""}, {"after=17", ""}, {"after=-1", ""}, {"after=18446744073709551616", ""}, {"after=1&after=2", ""}, {"x", ""}, {"after=%zz", ""}, {"after=%00", ""}, {";", ""},
		{"started=2026-01-02T10:04:05.123456789Z&after=1", ""}, {"started=yesterday", "1"},
		{"", "17"}, {"", "-1"}, {"after=1", "18446744073709551615"}, {"", "0x10"}, {"", " 1"}, {"", "١"}, {"", "1\x00"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, query, id string) {
		after, err := lastKnown(query, id, started)
		switch {
		case err != nil && strings.ContainsAny(err.Error(), "\r\n"):
			t.Errorf("more than one line: %q", err)
		case err != nil || after == nil:
		case id != "" && strings.TrimLeft(id, "0") != strings.TrimLeft(fmt.Sprint(*after), "0"):
			t.Errorf("%q was read as %d", id, *after)
		case id == "" && !strings.Contains(query, "after"):
			t.Errorf("%q was read as %d", query, *after)
		}
	})
}
