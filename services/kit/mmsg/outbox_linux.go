package mmsg

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"udplab/services/kit/udp"
)

// Outbox collects datagrams and sends them in as few messages as it can. The
// payloads are not copied: they must stay as they are until Send returns.
type Outbox struct {
	// OnError, if there is one, is called by Send for the ICMP errors that it
	// comes across, as by Socket.Errors. Without it, two of them in a row cost
	// a datagram that has nothing to do with them.
	OnError func(to netip.AddrPort, err error)

	socket   *Socket
	iovs     []unix.Iovec // by datagram
	failed   []unix.Errno // by datagram; 0: the kernel took it
	count    int          // of datagrams
	messages []message
	headers  []mmsghdr // by message, as are addrs and controls
	addrs    []sockaddr
	controls [][controlRoom]byte
}

// NewOutbox makes room for n datagrams.
func NewOutbox(n int) *Outbox {
	o := &Outbox{
		iovs: make([]unix.Iovec, n), failed: make([]unix.Errno, n), messages: make([]message, 0, n),
		headers: make([]mmsghdr, n), addrs: make([]sockaddr, n), controls: make([][controlRoom]byte, n),
	}
	for k := range o.headers {
		o.headers[k].hdr.Name = (*byte)(unsafe.Pointer(&o.addrs[k]))
		o.headers[k].hdr.Control = &o.controls[k][0]
	}
	return o
}

// Begin empties the outbox and says through which socket the next datagrams
// are to be sent.
func (o *Outbox) Begin(s *Socket) { o.socket, o.count, o.messages = s, 0, o.messages[:0] }

// Full says whether there is no room for another datagram.
func (o *Outbox) Full() bool { return o.count == len(o.iovs) }

// Add appends a datagram. From is the local address it is to leave from; if it
// is not valid the kernel chooses. Datagrams to one destination leave in the
// order in which they were added. There must be room (Full).
func (o *Outbox) Add(payload []byte, to netip.AddrPort, from netip.Addr) {
	i := o.count
	o.count++
	o.failed[i] = 0
	o.iovs[i].Base = unsafe.SliceData(payload)
	o.iovs[i].SetLen(len(payload))
	if k := len(o.messages) - 1; k >= 0 && o.socket.gso && o.messages[k].take(len(payload), to, from) {
		return
	}
	k := len(o.messages)
	o.messages = append(o.messages, message{to: to, from: from, first: i, n: 1, size: len(payload), bytes: len(payload), open: len(payload) > 0})
	h := &o.headers[k].hdr
	h.Namelen = putAddr(&o.addrs[k], to, o.socket.family)
	h.SetControllen(putSource(o.controls[k][:], from, o.socket.family))
}

// message is datagrams that the kernel takes at once, and cuts apart itself if
// they are several (UDP_SEGMENT, udp(7)).
type message struct {
	to       netip.AddrPort
	from     netip.Addr
	first, n int  // datagrams
	size     int  // of each but the last, in bytes
	bytes    int  // of all
	open     bool // for more datagrams
}

// maxSegments is how many datagrams the kernel takes in one message
// (UDP_MAX_SEGMENTS; 64 before Linux 6.9).
const maxSegments = 64

// take adds a datagram of so many bytes to the message, if the kernel can still
// tell them apart: all must have one size, and only the last may be shorter.
func (m *message) take(size int, to netip.AddrPort, from netip.Addr) bool {
	if !m.open || size == 0 || size > m.size || m.n == maxSegments || m.bytes+size > udp.MaxPayload || to != m.to || from != m.from {
		return false
	}
	m.n++
	m.bytes += size
	m.open = size == m.size
	return true
}

// anyMTU is a payload that every path takes whole: the smallest MTU of IPv6
// (1,280, RFC 8200) less the headers of IPv6 and UDP.
const anyMTU = 1232

// Send hands everything to the kernel and returns how many datagrams it did
// not take; Failed tells which. The outbox stays as it is until Begin.
func (o *Outbox) Send() (failed int) {
	for k := range o.messages {
		m, h := &o.messages[k], &o.headers[k].hdr
		h.Iov = &o.iovs[m.first]
		h.SetIovlen(m.n)
		if m.n > 1 {
			at := int(h.Controllen)
			h.SetControllen(at + putSegmentSize(o.controls[k][at:], m.size))
		}
	}
	for k := 0; k < len(o.messages); k++ {
		sent, errno := o.sendFrom(k)
		k += sent
		if errno == 0 {
			break
		}
		m := &o.messages[k]
		switch {
		case errno == unix.EAGAIN:
			for ; k < len(o.messages); k++ {
				failed += o.fail(&o.messages[k], errno)
			}
		case m.n > 1 && cannotSegment.has(errno):
			// Only if segmentation was at fault, and not a datagram or the
			// path's MTU, is the socket to do without it.
			lost := o.sendOneByOne(k)
			if lost == 0 && m.size <= anyMTU {
				o.socket.gso = false
			}
			failed += lost
		case m.from.IsValid() && refusesSource.has(errno):
			failed += o.sendOneByOne(k)
		default:
			failed += o.fail(m, errno)
		}
	}
	return failed
}

// sendFrom sends messages from number k on. It returns how many the kernel
// took, and the error that stopped it at the next, 0 if there is none.
func (o *Outbox) sendFrom(k int) (sent int, errno unix.Errno) {
	retry := retry{at: -1}
	for k+sent < len(o.messages) {
		n, errno := transfer(unix.SYS_SENDMMSG, o.socket.fd, o.headers[k+sent:len(o.messages)])
		switch {
		case errno == 0:
			sent += n
		case !retry.allowed(o, k+sent, errno):
			return sent, errno
		}
	}
	return sent, 0
}

// sendOneByOne sends the datagrams of one message each on its own, and returns
// how many the kernel did not take. One that cannot leave from its source (the
// address is gone, or was a broadcast's) leaves from an address of the kernel's
// choice: that is better than no datagram.
func (o *Outbox) sendOneByOne(k int) (failed int) {
	m, h := &o.messages[k], &o.headers[k].hdr
	if m.n > 1 {
		h.SetControllen(int(h.Controllen) - unix.CmsgSpace(2)) // without the segments' size
	}
	h.SetIovlen(1)
	retry := retry{at: -1}
	for i := m.first; i < m.first+m.n; {
		h.Iov = &o.iovs[i]
		_, errno := transfer(unix.SYS_SENDMMSG, o.socket.fd, o.headers[k:k+1])
		switch {
		case errno == 0:
			i++
		case retry.allowed(o, i, errno):
		case h.Controllen > 0 && refusesSource.has(errno):
			h.SetControllen(0)
		default:
			o.failed[i] = errno
			failed++
			i++
		}
	}
	return failed
}

// fail marks a message's datagrams as not sent and returns how many they are.
func (o *Outbox) fail(m *message, errno unix.Errno) int {
	for i := m.first; i < m.first+m.n; i++ {
		o.failed[i] = errno
	}
	return m.n
}

// Failed is why the kernel did not take the i-th datagram, nil if it did.
func (o *Outbox) Failed(i int) error {
	if o.failed[i] == 0 {
		return nil
	}
	return o.failed[i]
}

// retry decides whether a call that failed is to be made again.
type retry struct {
	at    int // the message or datagram that has been tried a second time
	tries int
}

// maxTries bounds one Send: a flood of ICMP must not occupy it.
const maxTries = 100

// allowed says whether number k is to be tried again after an error. After one
// that may be about an earlier datagram it is tried a second time, and then for
// as long as the error queue has something to report.
func (r *retry) allowed(o *Outbox, k int, errno unix.Errno) bool {
	switch {
	case errno == unix.EINTR:
		return true
	case !mayBePending.has(errno) || r.tries == maxTries:
		return false
	case r.at == k && (o.OnError == nil || o.socket.Errors(o.OnError) == 0):
		return false
	}
	r.at = k
	r.tries++
	return true
}
