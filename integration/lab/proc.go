package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// Resident is how much memory a process has, in bytes.
func Resident(pid int) (int64, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := proc.Stat()
	return int64(stat.ResidentMemory()), err
}

// Files is what a process has open, such as "socket:[1234]", "pipe:[56]" or a
// path (proc_pid_fd(5)). One that is closed meanwhile is left out.
func Files(pid int) ([]string, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return nil, err
	}
	targets, err := proc.FileDescriptorTargets()
	return slices.DeleteFunc(targets, func(target string) bool { return target == "" }), err
}

// FileKind is what sort of file a target of Files is: "socket", "pipe",
// "anon_inode:[eventpoll]" and its kin, or "file".
func FileKind(target string) string {
	switch before, _, found := strings.Cut(target, ":["); {
	case strings.HasPrefix(target, "anon_inode:"):
		return target
	case found && !strings.Contains(before, "/"):
		return before
	}
	return "file"
}

// UDPSocket is one of a process's UDP sockets.
type UDPSocket struct {
	Port  int    // of its own address
	Drops uint64 // datagrams that the kernel dropped there since it was opened
}

// UDPSockets is every UDP socket that a process has open now.
func UDPSockets(pid int) (sockets []UDPSocket, err error) {
	files, err := Files(pid)
	if err != nil {
		return nil, err
	}
	proc, err1 := procfs.NewFS(fmt.Sprintf("/proc/%d", pid)) // its network, not ours
	all, err2 := proc.NetUDP()
	all6, err3 := proc.NetUDP6()
	if errors.Is(err3, fs.ErrNotExist) { // as it is with a kernel without IPv6
		err3 = nil
	}
	for _, s := range slices.Concat(all, all6) {
		if slices.Contains(files, fmt.Sprintf("socket:[%d]", s.Inode)) {
			sockets = append(sockets, UDPSocket{int(s.LocalPort), *s.Drops})
		}
	}
	return sockets, errors.Join(err1, err2, err3)
}

// Running lists the command line of every process on this machine that runs
// one of these programs, or one in a directory below theirs, whoever started
// it. Only Linux tells; elsewhere it lists none.
func (p Programs) Running() (commands []string, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		command, _ := os.ReadFile(file) // one that cannot be read has just ended
		if strings.HasPrefix(string(command), string(p)+string(filepath.Separator)) {
			commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return commands, err
}
