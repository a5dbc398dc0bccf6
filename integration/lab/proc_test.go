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
