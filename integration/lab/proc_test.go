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
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
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
	const sent = 100
	if err := conn.SetReadBuffer(1 << 12); err != nil {
		t.Fatal(err)
	}
	for range sent {
		if _, err := conn.WriteTo(make([]byte, 1000), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	drops := func() (drops uint64, found bool) {
		sockets, err := UDPSockets(os.Getpid())
		i := slices.IndexFunc(sockets, func(s UDPSocket) bool { return s.Port == conn.LocalAddr().(*net.UDPAddr).Port })
		if err != nil {
			t.Error(err)
		}
		if i < 0 {
			return 0, false
		}
		return sockets[i].Drops, true
	}
	if n, found := drops(); !found || n == 0 || n >= sent {
		t.Errorf("found %v, of %d datagrams %d dropped, want some", found, sent, n)
	}
	conn.Close()
	if _, found := drops(); found {
		t.Error("the socket is found after it was closed")
	}
}
