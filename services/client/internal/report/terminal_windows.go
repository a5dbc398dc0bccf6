package report

import (
	"os"

	"golang.org/x/sys/windows"
)

// takesEscapes says whether a console takes escape sequences, and makes it do so:
// since Windows 10 it does for a program that asks. TERM, which is rarely set
// there, may only forbid it.
func takesEscapes(terminal any, kind string) bool {
	file, ok := terminal.(*os.File)
	if !ok || kind == "dumb" {
		return false
	}
	console := windows.Handle(file.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return false
	}
	return windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
