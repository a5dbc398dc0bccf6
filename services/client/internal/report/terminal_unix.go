//go:build unix

package report

// takesEscapes says whether a terminal of this kind, as TERM has it, takes escape
// sequences.
func takesEscapes(_ any, kind string) bool { return kind != "" && kind != "dumb" }
