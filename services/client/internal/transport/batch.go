package transport

import (
	"io"
	"net"
	"runtime"

	"golang.org/x/net/ipv4"
)

// batchSize is how many datagrams a system call takes at most. All clients share it
// when they read, as each of them needs a buffer for the largest datagram.
const batchSize = 64

// batcher is a socket that takes and sends several datagrams at a time, as
// ipv4.PacketConn does. An error is about the first of them.
type batcher interface {
	ReadBatch(messages []ipv4.Message, flags int) (n int, err error)
	WriteBatch(messages []ipv4.Message, flags int) (n int, err error)
	Close() error
}

// inBatches uses a socket in batches: of several datagrams per system call on Linux,
// for IPv6 too, of one elsewhere.
func inBatches(socket io.ReadWriteCloser) batcher {
	if conn, ok := socket.(*net.UDPConn); ok && runtime.GOOS == "linux" {
		return ipv4.NewPacketConn(conn)
	}
	return one{socket}
}

// one is a socket whose batches are of one datagram.
type one struct{ io.ReadWriteCloser }

func (s one) ReadBatch(messages []ipv4.Message, _ int) (n int, err error) {
	messages[0].N, err = s.Read(messages[0].Buffers[0])
	return 1, err
}

func (s one) WriteBatch(messages []ipv4.Message, _ int) (n int, err error) {
	_, err = s.Write(messages[0].Buffers[0])
	return 1, err
}
