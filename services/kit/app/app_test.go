package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestHowAProgramEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
		said string
	}{
		{"well", nil, 0, ""},
		{"it died", errors.New("the listener is gone"), 1, "prog: the listener is gone\n"},
		{"it could not start", CannotStart(errors.New("port in use")), 2, "prog: port in use\n"},
		{"two problems", Problems{Problem{"A", "1", "2"}, Problem{"B", "", "x"}}, 2, "prog: A=\"1\": want 2\nprog: B=\"\": want x\n"},
		{"one problem", Problem{"A", "1", "2"}, 2, "prog: A=\"1\": want 2\n"},
		{"wrapped", fmt.Errorf("run: %w", CannotStart(errors.New("no"))), 2, "prog: run: no\n"},
		{"everything was said", Exit(1), 1, ""},
		{"nothing was wrong", CannotStart(nil), 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := report(&out, "prog", tt.err); code != tt.code || out.String() != tt.said {
				t.Errorf("code %d, said %q", code, out.String())
			}
		})
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]string{
		":8080": "localhost:8080", "0.0.0.0:1": "localhost:1", "[::]:2": "localhost:2",
		"10.0.0.1:3": "10.0.0.1:3", "[::1]:4": "[::1]:4", "name:5": "name:5",
	} {
		if got := Loopback(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestLogFormats(t *testing.T) {
	for format, want := range map[LogFormat]string{
		"pretty": " WARN server2 is slow\n",
		"text":   `level=WARN msg="server2 is slow" server=server2`,
		"json":   `"msg":"server2 is slow","server":"server2"`,
		"":       `msg="server2 is slow"`, // not a terminal
	} {
		var out bytes.Buffer
		log := LogConfig{LogFormat: format}.Logger(&out)
		log.Warn("server2 is slow", "server", "server2")
		log.Log(t.Context(), slog.LevelDebug, "hidden")
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hidden") {
			t.Errorf("%q: %s", format, out.String())
		}
	}
}

func TestQuote(t *testing.T) {
	for _, tt := range []struct {
		payload string
		size    int
		want    string
	}{
		{"PING 1", 6, `"PING 1"`},
		{"", 0, `""`},
		{"\x1b[31m\n", 6, `"\x1b[31m\n"`}, // nothing reaches the terminal raw
		{strings.Repeat("a", 64), 70, `"` + strings.Repeat("a", 64) + `"…`},
		{strings.Repeat("a", 70), 70, `"` + strings.Repeat("a", 64) + `"…`},
	} {
		if got := Quote([]byte(tt.payload), tt.size); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.payload, got, tt.want)
		}
	}
}
