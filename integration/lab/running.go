package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Running lists the command line of every process on this machine that runs
// one of these programs, or one in a directory below theirs, whoever started
// it. It returns an error where it does not know how to look.
func (p Programs) Running() (commands []string, err error) {
	all, err := commandLines()
	for _, command := range all {
		if strings.HasPrefix(command, string(p)+string(filepath.Separator)) {
			commands = append(commands, command)
		}
	}
	return commands, err
}

// commandLines is that of every process, its words separated by spaces.
func commandLines() (lines []string, err error) {
	switch runtime.GOOS {
	case "windows":
		return nil, fmt.Errorf("listing processes: %w", os.ErrInvalid)
	case "linux":
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			// One that cannot be read has just ended.
			if words, err := os.ReadFile(file); err == nil {
				lines = append(lines, strings.TrimSpace(strings.ReplaceAll(string(words), "\x00", " ")))
			}
		}
		return lines, err
	}
	out, err := exec.Command("ps", "-A", "-o", "args=").Output()
	return strings.Split(string(out), "\n"), err
}
