package logging

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

func TestLogFormats(t *testing.T) {
	for format, want := range map[Format]string{
		"pretty": " WARN server2 is slow\n",
		"text":   `level=WARN msg="server2 is slow" server=server2`,
		"json":   `"msg":"server2 is slow","server":"server2"`,
		"":       `msg="server2 is slow"`, // not a terminal, nor a buffer before one
	} {
		var out bytes.Buffer
		buffer := NewBufferedWriter(&out)
		log := Config{LogFormat: format}.Logger(buffer)
		log.Warn("server2 is slow", "server", "server2")
		log.Log(t.Context(), slog.LevelDebug, "hidden")
		buffer.Flush()
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hidden") {
			t.Errorf("%q: %s", format, out.String())
		}
	}
}

func TestAFormatIsOneOfThree(t *testing.T) {
	var f Format
	if err := f.UnmarshalText([]byte("JSON")); err != nil || f != "json" {
		t.Errorf("format %q, error %v", f, err)
	}
	if err := f.UnmarshalText([]byte("xml")); err == nil {
		t.Errorf("format %q", f)
	}
}

// What is shown of a payload is one line that can be read back.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"PING 1", "", "\x1b[2J\r\n", "\xff\u202e\"", strings.Repeat("é", 40)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		quoted := Quote(payload, len(payload))
		hidden := func(r rune) bool { return !unicode.IsPrint(r) }
		shown, cut := strings.CutSuffix(quoted, "…")
		back, err := strconv.Unquote(shown)
		switch {
		case strings.ContainsFunc(quoted, hidden):
			t.Errorf("%q shows more than can be seen", quoted)
		case err != nil || !bytes.HasPrefix(payload, []byte(back)) || cut != (len(back) < len(payload)):
			t.Errorf("%q is shown as %s, which is %q (%v)", payload, quoted, back, err)
		case len(back) > Quoted:
			t.Errorf("%d bytes are shown", len(back))
		}
	})
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
