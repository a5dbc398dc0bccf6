//go:build unix

package report

// obeysEscapes says whether a terminal of this kind, as TERM has it, obeys escape
// sequences.
func obeysEscapes(_ any, kind string) bool { return kind != "" && kind != "dumb" }
