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

// What is shown of a payload is its beginning, 64 bytes at most, on one line
// that can be read back.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"PING 1", "", "\x1b[2J\r\n", "\xff\u202e\"", strings.Repeat("é", 40), strings.Repeat("a", 64)} {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, payload []byte, missing int) {
		size := len(payload) + missing&1 // one byte more than there is here
		quoted := Quote(payload, size)
		hidden := func(r rune) bool { return !unicode.IsPrint(r) }
		shown, cut := strings.CutSuffix(quoted, "…")
		back, err := strconv.Unquote(shown)
		switch {
		case strings.ContainsFunc(quoted, hidden):
			t.Errorf("%q shows more than can be seen", quoted)
		case err != nil || back != string(payload[:min(len(payload), Quoted)]) || cut != (len(back) < size):
			t.Errorf("%q is shown as %s, which is %q (%v)", payload, quoted, back, err)
		}
	})
}
