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
	// getting it back costs more than a datagram does, and keeps the
	// scheduler's watchdog from sleeping, so a loop of its own is better off
	// with a few milliseconds; then it seldom lets go while it is in use. The
	// process must have a processor more than there are such loops
	// (runtime.GOMAXPROCS), or everything else waits too. The scheduler can
	// still interrupt by a signal, as it does for the garbage collector.
	// 0, for everybody else: Wait lets go at once.
	SpinBeforeBlock time.Duration

	fd     int
	wake   int // an eventfd(2) that Wake writes to
	events []unix.EpollEvent
	coarse bool // the system has no epoll_pwait2
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
	binary.NativeEndian.PutUint64(userData(&event), token)
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event))
}

// userData is the eight bytes that an event has for us, which x/sys shows as
// two int32.
func userData(e *unix.EpollEvent) []byte { return (*[8]byte)(unsafe.Pointer(&e.Fd))[:] }

// Remove makes Wait report a socket no more.
func (p *Poller) Remove(s *Socket) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, s.fd, nil))
}

// Wait waits until a socket has something, Wake is called, or the time is up
// (negative: no limit), and returns how many events there are for Event. A
// limit of 0 only looks. The limit is kept to some ten microseconds, before
// Linux 5.11 to a millisecond; a signal may end a wait early.
func (p *Poller) Wait(limit time.Duration) (int, error) {
	spin := p.SpinBeforeBlock
	if limit >= 0 {
		spin = min(spin, limit)
	}
	n, errno := p.wait(spin, false)
	if n == 0 && errno == 0 && spin != limit {
		if limit >= 0 {
			limit -= spin
		}
		n, errno = p.wait(limit, true)
	}
	switch errno {
	case 0:
		return n, nil
	case unix.EINTR:
		return 0, nil
	case unix.ENOSYS, unix.EPERM: // EPERM: a filter of system calls that does not know it
		if !p.coarse {
			p.coarse = true
			return p.Wait(limit)
		}
	}
	return 0, os.NewSyscallError("epoll_wait", errno)
}

// wait makes one system call: epoll_pwait2(2), or epoll_pwait(2) with the limit
// rounded up. Only if it blocks is the scheduler told.
func (p *Poller) wait(limit time.Duration, block bool) (n int, errno unix.Errno) {
	var found uintptr
	switch events, room := unsafe.Pointer(&p.events[0]), uintptr(len(p.events)); {
	case p.coarse:
		millis := ^uintptr(0) // -1: no limit
		if limit >= 0 {
			millis = uintptr((limit + time.Millisecond - 1) / time.Millisecond)
		}
		if block {
			found, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(events), room, millis, 0, 0)
		} else {
			found, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(events), room, millis, 0, 0)
		}
	default:
		// struct __kernel_timespec: 64 bits each on every architecture.
		spec := [2]int64{int64(limit / time.Second), int64(limit % time.Second)}
		timeout := &spec
		if limit < 0 {
			timeout = nil
		}
		if block {
			found, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(events), room, uintptr(unsafe.Pointer(timeout)), 0, 0)
		} else {
			found, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(events), room, uintptr(unsafe.Pointer(timeout)), 0, 0)
		}
	}
	return int(found), errno
}

// Event is the i-th of the events that Wait found; ok is false for a wake-up,
// which is no socket's.
func (p *Poller) Event(i int) (e Event, ok bool) {
	raw := &p.events[i]
	token := binary.NativeEndian.Uint64(userData(raw))
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
