package report

import "strings"

// Escapes says whether escape sequences may be written to a terminal: only if it is
// known to take them, and not if the user asks for none (no-color.org).
func Escapes(terminal any, environ []string) bool {
	value := func(name string) (found string) {
		for _, kv := range environ {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				found = v
			}
		}
		return found
	}
	return value("NO_COLOR") == "" && takesEscapes(terminal, value("TERM"))
}

// red and yellow colour words if Out takes that. No word depends on its colour.
func (r *Report) red(text string) string    { return r.colour("31", text) }
func (r *Report) yellow(text string) string { return r.colour("33", text) }

func (r *Report) colour(code, text string) string {
	if !r.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
