// Package logging is how udplab's programs write their log.
package logging

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"udplab/services/kit/config"
)

// Config is the part of a configuration that every program shares.
type Config struct {
	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error" want:"debug, info, warn or error"`
	LogFormat Format     `env:"LOG_FORMAT" default:"pretty on a terminal, else text" help:"pretty, text or json" want:"pretty, text or json"`
}

// Format is how log lines look: "pretty", "text", "json", or "" for pretty
// on a terminal and text elsewhere.
type Format string

// UnmarshalText refuses a format that does not exist.
func (f *Format) UnmarshalText(text []byte) error {
	switch format := Format(strings.ToLower(string(text))); format {
	case "pretty", "text", "json":
		*f = format
		return nil
	}
	return config.Problem{Value: string(text), Want: "pretty, text or json"}
}

// Logger writes to out as configured. A message is a whole sentence that says
// everything a person needs; attributes say it again for programs, so the
// pretty format leaves them out.
func (c Config) Logger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	switch {
	case c.LogFormat == "json":
		return slog.New(slog.NewJSONHandler(out, options))
	case c.LogFormat == "text", !IsTerminal(out) && c.LogFormat == "":
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(&pretty{out: out, level: c.LogLevel})
}

// IsTerminal says whether a person looks at what is written to w, also through
// a BufferedWriter.
func IsTerminal(w any) bool {
	if b, ok := w.(*BufferedWriter); ok {
		w = b.out
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// pretty is a slog.Handler for people: the time of day and the message, and
// the level only when it is not the usual one.
type pretty struct {
	mu    sync.Mutex
	out   io.Writer
	level slog.Level
}

func (p *pretty) Enabled(_ context.Context, level slog.Level) bool { return level >= p.level }

func (p *pretty) Handle(_ context.Context, r slog.Record) error {
	line := make([]byte, 0, 160)
	line = r.Time.AppendFormat(line, time.TimeOnly)
	if r.Level != slog.LevelInfo {
		line = append(line, ' ')
		line = append(line, r.Level.String()...)
	}
	line = append(line, ' ')
	line = append(line, r.Message...)
	line = append(line, '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.out.Write(line)
	return err
}

func (p *pretty) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p *pretty) WithGroup(string) slog.Handler      { return p }

// Quoted is how many bytes of a payload Quote shows at most.
const Quoted = 64

// Quote shows the beginning of a payload of size bytes safely on one line:
// quoted as Go would, at most Quoted bytes of it, with … where it was cut.
func Quote(beginning []byte, size int) string {
	beginning = beginning[:min(len(beginning), Quoted)]
	quoted := strconv.Quote(string(beginning))
	if size > len(beginning) {
		quoted += "…"
	}
	return quoted
}
