package mmsg

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cacheLine is the unit of the processor's cache, in bytes.
const cacheLine = 64

// Inbox is room for the datagrams of one or more receiving calls. The buffers
// take address space, and memory only for as much as was ever received into
// them.
type Inbox struct {
	msgs     []mmsghdr
	iovs     []unix.Iovec
	addrs    []sockaddr
	controls [][controlRoom]byte
	buf      []byte
	stride   int // from one slot's buffer to the next
}

// NewInbox makes room for n datagrams of size bytes each; udp.MaxDatagram is
// room for any.
func NewInbox(n, size int) *Inbox {
	// An odd number of cache lines: with slots a power of two apart, the
	// beginnings of all would compete for the same few lines of the cache.
	stride := ((size+cacheLine-1)/cacheLine | 1) * cacheLine
	in := &Inbox{
		stride: stride,
		msgs:   make([]mmsghdr, n), iovs: make([]unix.Iovec, n), addrs: make([]sockaddr, n),
		controls: make([][controlRoom]byte, n), buf: make([]byte, n*stride),
	}
	for i := range in.msgs {
		in.iovs[i].Base = &in.buf[i*stride]
		in.iovs[i].SetLen(size)
		h := &in.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&in.addrs[i]))
		h.Control = &in.controls[i][0]
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
	}
	return in
}

// Len is how many slots there are.
func (in *Inbox) Len() int { return len(in.msgs) }

// Receive fills slots from number at on, most of them at the most, with what
// has come to the socket, and returns how many it filled: 0 if nothing has
// come. See Errors in the package's documentation; an error that is about an
// earlier datagram is passed over: Socket.Errors reports it.
func (in *Inbox) Receive(s *Socket, at, most int) (int, error) {
	msgs := in.msgs[at : at+most]
	for i := range msgs {
		h := &msgs[i].hdr
		h.Namelen = sizeofInet6
		h.SetControllen(0)
		if s.pktinfo {
			h.SetControllen(controlRoom)
		}
	}
	for tries := 0; ; tries++ {
		n, errno := transfer(unix.SYS_RECVMMSG, s.fd, msgs)
		switch {
		case errno == 0:
			return n, nil
		case errno == unix.EAGAIN:
			return 0, nil
		case errno == unix.EINTR, mayBePending.has(errno) && tries < 100:
		default:
			return 0, errno
		}
	}
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received
}

// transfer calls recvmmsg(2) or sendmmsg(2). A call on a nonblocking socket never
// waits, so the scheduler need not be told of it (RawSyscall).
func transfer(call uintptr, fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// Payload is the datagram in a slot. It is good until the slot is filled again.
func (in *Inbox) Payload(i int) []byte {
	return in.buf[i*in.stride : i*in.stride+int(in.msgs[i].n)]
}

// From is who sent the datagram in a slot.
func (in *Inbox) From(i int) netip.AddrPort { return getAddr(&in.addrs[i]) }

// To is the address that the datagram in a slot was sent to, where the socket
// listens on a wildcard; elsewhere, or if it was sent to many, it is not valid.
func (in *Inbox) To(i int) netip.Addr {
	control := in.controls[i][:min(int(in.msgs[i].hdr.Controllen), controlRoom)]
	return destination(control)
}
