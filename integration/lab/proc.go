package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Resident is how much memory a process has, in bytes (VmRSS of
// proc_pid_status(5)).
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return resident(string(text))
}

func resident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("status: no VmRSS")
}

// Files is what a process has open, such as "socket:[1234]", "pipe:[56]" or a
// path (proc_pid_fd(5)). One that is closed meanwhile is left out.
func Files(pid int) (targets []string, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil {
			targets = append(targets, target)
		}
	}
	return targets, err
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
	own := map[string]bool{}
	for _, file := range files {
		own[file] = true
	}
	for _, table := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if os.IsNotExist(err) && table == "udp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		all, err := udpTable(string(text))
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if own["socket:["+s.inode+"]"] {
				sockets = append(sockets, s.UDPSocket)
			}
		}
	}
	return sockets, nil
}

// row is a line of /proc/net/udp.
type row struct {
	UDPSocket
	inode string
}

// udpTable reads /proc/net/udp (proc_pid_net(5)): after a heading, a line for
// each socket, with the address and port in hexadecimal.
func udpTable(text string) (rows []row, err error) {
	_, body, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(body) {
		fields := strings.Fields(line)
		if len(fields) < 13 {
			return nil, fmt.Errorf("net/udp: %d fields, want 13: %q", len(fields), line)
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return nil, fmt.Errorf("net/udp: local address %q: %w", fields[1], err)
		}
		drops, err := strconv.ParseUint(fields[12], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("net/udp: drops %q: %w", fields[12], err)
		}
		rows = append(rows, row{UDPSocket{int(port), drops}, fields[9]})
	}
	return rows, nil
}
