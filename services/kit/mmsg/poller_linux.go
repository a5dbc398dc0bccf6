package mmsg

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller waits for sockets together (epoll(7), level-triggered: what is left
// unread is reported again).
type Poller struct {
	// SpinBeforeBlock is for how long Wait keeps the goroutine's processor (a
	// P of the Go scheduler) while there is nothing. Handing it over and
	// getting it back costs more than a datagram does, so a loop that is in
	// use is better off with a few milliseconds. The process must have a
	// processor more than there are such loops (runtime.GOMAXPROCS), or
	// everything else waits too. 0, for everybody else: Wait lets go at once.
	SpinBeforeBlock time.Duration

	fd     int
	wake   int // an eventfd(2) that Wake writes to
	events []unix.EpollEvent
}

// Event says that a socket has something: datagrams, errors, or both.
type Event struct {
	Token  uint64 // that the socket was added under
	Errors bool   // its error queue is not empty
}

// wakeToken is the token of the eventfd; no socket may have it.
const wakeToken = ^uint64(0)

// NewPoller makes a poller that reports at most n events at a time.
func NewPoller(n int) (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &Poller{fd: fd, wake: wake, events: make([]unix.EpollEvent, n)}
	if err := p.add(wake, wakeToken); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close releases the poller, not the sockets.
func (p *Poller) Close() error {
	return errors.Join(unix.Close(p.fd), unix.Close(p.wake))
}

// Add makes Wait report a socket under a token, any number but the highest.
// Closing the socket takes it out again.
func (p *Poller) Add(s *Socket, token uint64) error { return p.add(s.fd, token) }

func (p *Poller) add(fd int, token uint64) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(token), Pad: int32(token >> 32)} // both are ours to use
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event))
}

// Remove makes Wait report a socket no more.
func (p *Poller) Remove(s *Socket) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, s.fd, nil))
}

// Wait waits until a socket has something, Wake is called, or the time is up, to
// a millisecond (negative: no limit), and returns how many events there are for
// Event. A limit of 0 only looks. A signal may end a wait early.
func (p *Poller) Wait(limit time.Duration) (n int, err error) {
	spin := p.SpinBeforeBlock
	if limit >= 0 {
		spin = min(spin, limit)
	}
	found, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(millis(spin)), 0, 0)
	switch {
	case errno != 0:
		err = errno
	case found == 0 && spin != limit:
		n, err = unix.EpollWait(p.fd, p.events, millis(limit-spin)) // now the scheduler is told
	default:
		n = int(found)
	}
	switch err {
	case nil:
		return n, nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError("epoll_pwait", err)
}

// millis is a limit as epoll_pwait(2) takes it, rounded up; -1 is none.
func millis(limit time.Duration) int {
	if limit < 0 {
		return -1
	}
	return int((limit + time.Millisecond - 1) / time.Millisecond)
}

// Event is the i-th of the events that Wait found; ok is false for a wake-up,
// which is no socket's.
func (p *Poller) Event(i int) (e Event, ok bool) {
	raw := &p.events[i]
	token := uint64(uint32(raw.Fd)) | uint64(uint32(raw.Pad))<<32
	if token == wakeToken {
		var count [8]byte
		_, _ = unix.Read(p.wake, count[:])
		return Event{}, false
	}
	return Event{Token: token, Errors: raw.Events&unix.EPOLLERR != 0}, true
}

// Wake makes Wait return, now or at its next call. Any goroutine may call it.
func (p *Poller) Wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.wake, one[:]) // fails only if Wait is going to return anyway
}
