package mmsg

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxRun is how many datagrams the kernel takes as one run
	// (UDP_MAX_SEGMENTS; 64 before Linux 6.9).
	maxRun = 64
	// maxRunBytes is how long a run may be altogether.
	maxRunBytes = MaxPayload
	// narrowest is a payload that every way takes whole: the smallest MTU of
	// IPv6 (1,280, RFC 8200) less the headers of IPv6 and UDP.
	narrowest = 1232
)

// Outbox collects datagrams and sends them in as few messages as it can. The
// payloads are not copied: they must stay as they are until Send returns.
type Outbox struct {
	// Told, if there is one, is called by Send for the ICMP errors that it
	// comes across, as by Socket.Errors. Without it, two of them in a row cost
	// a datagram that has nothing to do with them.
	Told func(to netip.AddrPort, err error)

	msgs     []mmsghdr
	runs     []run // what msgs are made from
	addrs    []sockaddr
	controls [][controlRoom]byte
	iovs     []unix.Iovec   // one a datagram
	failed   []unix.Errno   // by datagram; 0: the kernel took it
	count    int            // datagrams
	used     int            // runs
	socket   *Socket        // that they are for
	last     netip.AddrPort // destination of the last run
	lastFrom netip.Addr
}

// run is the datagrams of one message.
type run struct {
	first, n int  // datagrams
	size     int  // of each but the last, in bytes
	bytes    int  // of all
	open     bool // for more datagrams
	sourced  bool // it is to leave from an address of ours
}

// NewOutbox makes room for n datagrams.
func NewOutbox(n int) *Outbox {
	o := &Outbox{
		msgs: make([]mmsghdr, n), runs: make([]run, n), addrs: make([]sockaddr, n),
		controls: make([][controlRoom]byte, n), iovs: make([]unix.Iovec, n), failed: make([]unix.Errno, n),
	}
	for i := range o.msgs {
		o.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&o.addrs[i]))
	}
	return o
}

// Begin empties the outbox and says through which socket the next datagrams
// are to be sent.
func (o *Outbox) Begin(s *Socket) { o.socket, o.count, o.used = s, 0, 0 }

// Len is how many datagrams have been added since Begin.
func (o *Outbox) Len() int { return o.count }

// Full says whether there is room for no more.
func (o *Outbox) Full() bool { return o.count == len(o.iovs) }

// Add appends a datagram. From is the local address it is to leave from; if it
// is not valid the kernel chooses. Datagrams to one destination leave in the
// order in which they were added. There must be room (Full).
func (o *Outbox) Add(payload []byte, to netip.AddrPort, from netip.Addr) {
	i := o.count
	o.count++
	o.failed[i] = 0
	v := &o.iovs[i]
	if len(payload) > 0 {
		v.Base = &payload[0]
	} else {
		v.Base = nil
	}
	v.SetLen(len(payload))
	if o.used > 0 && to == o.last && from == o.lastFrom && o.runs[o.used-1].take(len(payload), o.socket.runs) {
		return
	}
	o.startRun(i, len(payload), to, from)
}

// take adds a datagram of so many bytes to a run, if the kernel can still tell
// them apart: all must have one size, and only the last may be shorter.
func (r *run) take(size int, allowed bool) bool {
	if !allowed || !r.open || size == 0 || size > r.size || r.n == maxRun || r.bytes+size > maxRunBytes {
		return false
	}
	r.n++
	r.bytes += size
	r.open = size == r.size
	return true
}

func (o *Outbox) startRun(i, size int, to netip.AddrPort, from netip.Addr) {
	k := o.used
	o.used++
	o.last, o.lastFrom = to, from
	o.runs[k] = run{first: i, n: 1, size: size, bytes: size, open: size > 0, sourced: from.IsValid()}
	h := &o.msgs[k].hdr
	h.Namelen = putAddr(&o.addrs[k], to, o.socket.family)
	h.Control = &o.controls[k][0]
	h.SetControllen(putSource(o.controls[k][:], from, o.socket.family))
}

// Send hands everything to the kernel and returns how many datagrams it did
// not take; Failed tells which. The outbox stays as it is until Begin.
func (o *Outbox) Send() (failed int) {
	for k := range o.used {
		o.seal(k)
	}
	for k := 0; k < o.used; {
		sent, errno := o.sendFrom(k)
		k += sent
		if errno == 0 {
			continue
		}
		r := &o.runs[k]
		switch {
		case errno == unix.EAGAIN:
			for ; k < o.used; k++ {
				failed += o.fail(&o.runs[k], errno)
			}
			return failed
		case r.n > 1 && cannotSegment(errno):
			// Only if the run was at fault, and not one of its datagrams or the
			// width of the way, is the socket to make no more of them.
			lost := o.sendSingly(k)
			if lost == 0 && r.size <= narrowest {
				o.socket.runs = false
			}
			failed += lost
		case r.sourced && refusesSource(errno):
			failed += o.sendSingly(k)
		default:
			failed += o.fail(r, errno)
		}
		k++
	}
	return failed
}

// seal completes the message of a run: which datagrams, and where to cut.
func (o *Outbox) seal(k int) {
	r, h := &o.runs[k], &o.msgs[k].hdr
	h.Iov = &o.iovs[r.first]
	h.SetIovlen(r.n)
	if r.n > 1 {
		at := int(h.Controllen)
		h.SetControllen(at + putSegment(o.controls[k][at:], r.size))
	}
	if h.Controllen == 0 {
		h.Control = nil
	}
}

// sendFrom sends messages from number k on. It returns how many the kernel
// took, and the error that stopped it at the next, 0 if there is none.
func (o *Outbox) sendFrom(k int) (sent int, errno unix.Errno) {
	first := k
	again := again{at: -1}
	for k < o.used {
		n, errno := o.send(k)
		switch {
		case errno == 0:
			k += n
		case again.may(o, k, errno):
		default:
			return k - first, errno
		}
	}
	return k - first, 0
}

// again decides whether a call that failed is to be made again.
type again struct {
	at    int // the message or datagram that has been tried a second time
	tries int
}

// mostNews is how much news one Send listens to: whoever floods us with ICMP
// shall not keep us.
const mostNews = 100

// may says whether number k is to be tried again after an error. What may be
// news of an earlier datagram is tried a second time, and after that for as
// long as there is news to tell.
func (a *again) may(o *Outbox, k int, errno unix.Errno) bool {
	switch {
	case errno == unix.EINTR:
		return true
	case !isNews(errno) || a.tries == mostNews:
		return false
	case a.at == k && (o.Told == nil || o.socket.Errors(o.Told) == 0):
		return false
	}
	a.at = k
	a.tries++
	return true
}

// send makes one system call for the messages from number k on: the plainest
// one that will do.
func (o *Outbox) send(k int) (int, unix.Errno) {
	m := &o.msgs[k]
	if k == o.used-1 && o.runs[k].n == 1 && m.hdr.Control == nil {
		return 1, sendto(o.socket.fd, m.hdr.Iov, &o.addrs[k], m.hdr.Namelen)
	}
	return sendmmsg(o.socket.fd, o.msgs[k:o.used])
}

// sendSingly sends the datagrams of one run one by one, and returns how many
// the kernel did not take. One that cannot leave from where it is to leave from
// (the address is gone, or was a broadcast's) leaves from an address of the
// kernel's choice: that is better than no datagram.
func (o *Outbox) sendSingly(k int) (failed int) {
	r, h := &o.runs[k], &o.msgs[k].hdr
	if r.n > 1 {
		h.SetControllen(withoutSegment(int(h.Controllen)))
	}
	h.SetIovlen(1)
	again := again{at: -1}
	for i := r.first; i < r.first+r.n; {
		h.Iov = &o.iovs[i]
		if h.Controllen == 0 {
			h.Control = nil
		}
		_, errno := sendmmsg(o.socket.fd, o.msgs[k:k+1])
		switch {
		case errno == 0:
			i++
		case again.may(o, i, errno):
		case r.sourced && h.Control != nil && refusesSource(errno):
			h.SetControllen(0)
		default:
			o.failed[i] = errno
			failed++
			i++
		}
	}
	return failed
}

func (o *Outbox) fail(r *run, errno unix.Errno) int {
	for i := r.first; i < r.first+r.n; i++ {
		o.failed[i] = errno
	}
	return r.n
}

// Failed is why the kernel did not take the i-th datagram, nil if it did.
func (o *Outbox) Failed(i int) error {
	if o.failed[i] == 0 {
		return nil
	}
	return o.failed[i]
}

// cannotSegment says whether the error of a run may be due to its being one.
func cannotSegment(errno unix.Errno) bool {
	switch errno {
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// refusesSource says whether the error of a datagram may be due to the address
// that it is to leave from. ENETUNREACH: on an IPv6 socket, for one of IPv4.
func refusesSource(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH:
		return true
	}
	return false
}

// isNews says whether an error may be the kernel's report on an earlier
// datagram: the ICMP errors of icmp(7).
func isNews(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET,
		unix.ENOPROTOOPT, unix.EPROTO, unix.EACCES, unix.EMSGSIZE, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// putSource writes the control item that makes a datagram leave from an
// address, and returns its length: 0 if the kernel is to choose.
func putSource(control []byte, from netip.Addr, family int) int {
	switch {
	case !from.IsValid():
		return 0
	case family == unix.AF_INET:
		data := putHeader(control, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		ip := from.As4()
		copy(data[4:8], ip[:]) // ipi_spec_dst
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	data := putHeader(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	ip := from.As16()
	copy(data, ip[:])
	binary.NativeEndian.PutUint32(data[16:20], zone(from.Zone()))
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// putSegment writes the control item that makes the kernel cut a message into
// datagrams of so many bytes, and returns its length.
func putSegment(control []byte, size int) int {
	data := putHeader(control, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return unix.CmsgSpace(2)
}

// withoutSegment is the length of a control message without its segment item,
// which is the last.
func withoutSegment(length int) int { return length - unix.CmsgSpace(2) }

// putHeader writes the header of a control item and returns room for its data,
// zeroed.
func putHeader(control []byte, level, kind int32, size int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	data := control[unix.CmsgLen(0):unix.CmsgSpace(size)]
	clear(data)
	return data[:size]
}
