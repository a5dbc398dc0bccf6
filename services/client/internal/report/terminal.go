package report

import "strings"

// Escapes says whether escape sequences may be written to a terminal: only if it is
// known to obey them, and not if the user asks for none (no-color.org).
func Escapes(terminal any, environ []string) bool {
	value := func(name string) (found string) {
		for _, kv := range environ {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				found = v
			}
		}
		return found
	}
	return value("NO_COLOR") == "" && obeysEscapes(terminal, value("TERM"))
}

// paint colours words, or does not. No word depends on its colour.
type paint bool

func (p paint) red(text string) string    { return p.colour("31", text) }
func (p paint) yellow(text string) string { return p.colour("33", text) }

func (p paint) colour(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
