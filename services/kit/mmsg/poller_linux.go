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
	// Hold is for how many milliseconds Wait keeps the goroutine's processor
	// (a P of the Go scheduler) while there is nothing. Handing it over and
	// getting it back costs more than a datagram does, and keeps the
	// scheduler's watchdog from sleeping, so a loop of its own is better off
	// holding on for a few; then it seldom lets go while it is in use. The
	// process must have a processor more than there are such loops
	// (runtime.GOMAXPROCS), or everything else waits too. The scheduler can
	// still interrupt by a signal, as it does for the garbage collector.
	// 0, for everybody else: Wait lets go at once.
	Hold int

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
	event := unix.EpollEvent{Events: unix.EPOLLIN}
	setToken(&event, token)
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event))
}

// Remove makes Wait report a socket no more.
func (p *Poller) Remove(s *Socket) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, s.fd, nil))
}

// Wait waits until a socket has something, Wake is called, or the time is up
// (negative: no limit), and returns how many events there are for Event. A
// wait of 0 only looks.
func (p *Poller) Wait(limit time.Duration) (int, error) {
	millis := -1
	if limit >= 0 {
		millis = int((limit + time.Millisecond - 1) / time.Millisecond)
	}
	n, errno := epollWait(p.fd, p.events, p.Hold, millis)
	switch errno {
	case 0:
		return n, nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError("epoll_wait", errno)
}

// Event is the i-th of the events that Wait found; ok is false for a wake-up,
// which is no socket's.
func (p *Poller) Event(i int) (e Event, ok bool) {
	raw := &p.events[i]
	token := getToken(raw)
	if token == wakeToken {
		var count [8]byte
		unix.Read(p.wake, count[:])
		return Event{}, false
	}
	return Event{Token: token, Errors: raw.Events&unix.EPOLLERR != 0}, true
}

// Wake makes Wait return, now or at its next call. Any goroutine may call it.
func (p *Poller) Wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(p.wake, one[:]) // fails only if Wait is going to return anyway
}

// An EpollEvent has eight bytes for the user, which x/sys shows as two int32.
func setToken(e *unix.EpollEvent, token uint64) {
	*(*[8]byte)(unsafe.Pointer(&e.Fd)) = tokenBytes(token)
}

func getToken(e *unix.EpollEvent) uint64 {
	return binary.NativeEndian.Uint64((*[8]byte)(unsafe.Pointer(&e.Fd))[:])
}

func tokenBytes(token uint64) (b [8]byte) {
	binary.NativeEndian.PutUint64(b[:], token)
	return b
}
