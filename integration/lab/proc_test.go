package lab

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
)

func TestMemoryIsReadFromStatus(t *testing.T) {
	got, err := resident("Name:\tbalancer\nVmHWM:\t   20000 kB\nVmRSS:\t   12345 kB\nThreads:\t9\n")
	if err != nil || got != 12345<<10 {
		t.Errorf("resident = %d, %v, want %d", got, err, 12345<<10)
	}
	for _, status := range []string{"", "Name:\tkthreadd\n", "VmRSS:\tmuch kB\n"} {
		if got, err := resident(status); err == nil {
			t.Errorf("resident(%q) = %d, want an error", status, got)
		}
	}
}

func TestSocketsAreReadFromTheTable(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
	got, err := udpTable(head +
		"13598: 0100007F:70D8 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 80719 2 0000000083051edb 17\n" +
		"  200: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0000000083051edb 0\n")
	want := []row{{UDPSocket{0x70d8, 17}, "80719"}, {UDPSocket{53, 0}, "9"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("udpTable = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{
		"1: 0100007F:70D8 00000000:0000 07\n",
		"1: 0100007F:XYZ0 00000000:0000 07 0:0 0:0 0 0 0 80719 2 0 17\n",
		"1: 0100007F:70D8 00000000:0000 07 0:0 0:0 0 0 0 80719 2 0 some\n",
	} {
		if got, err := udpTable(head + bad); err == nil {
			t.Errorf("udpTable took %q for %v", bad, got)
		}
	}
}

func TestKindsOfFiles(t *testing.T) {
	for target, want := range map[string]string{
		"socket:[1234]":          "socket",
		"pipe:[56]":              "pipe",
		"anon_inode:[eventpoll]": "anon_inode:[eventpoll]",
		"/dev/null":              "file",
		"/tmp/a:[1]/b":           "file",
		"/state/turns (deleted)": "file",
	} {
		if got := FileKind(target); got != want {
			t.Errorf("FileKind(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestThisProcess(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).Port
	memory, err := Resident(os.Getpid())
	if runtime.GOOS != "linux" {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resident: %v, want that there is no such file", err)
		}
		return
	}
	if err != nil || memory < 1<<20 || memory > 1<<34 {
		t.Errorf("Resident = %d, %v, want some megabytes", memory, err)
	}

	// Fill the socket's buffer: what does not fit is dropped, and counted.
	sender, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if err := conn.(*net.UDPConn).SetReadBuffer(1 << 12); err != nil {
		t.Fatal(err)
	}
	const sent = 100
	for range sent {
		if _, err := sender.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	sockets, err := UDPSockets(os.Getpid())
	i := slices.IndexFunc(sockets, func(s UDPSocket) bool { return s.Port == port })
	if err != nil || i < 0 || sockets[i].Drops == 0 || sockets[i].Drops >= sent {
		t.Errorf("UDPSockets = %v, %v, want port %d with some of %d dropped", sockets, err, port, sent)
	}
	conn.Close()
	sockets, err = UDPSockets(os.Getpid())
	if err != nil || slices.ContainsFunc(sockets, func(s UDPSocket) bool { return s.Port == port }) {
		t.Errorf("UDPSockets = %v, %v after port %d was closed", sockets, err, port)
	}
}
