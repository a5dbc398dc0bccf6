package api

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAConnectionThatAcknowledgesNothingIsGivenUp(t *testing.T) {
	config := net.ListenConfig{Control: giveUpVanished} // as Listen has it, but for its limit
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != int(vanished.Milliseconds()) {
			t.Errorf("it is given up after %d ms, error %v", got, err)
		}
	})
}
