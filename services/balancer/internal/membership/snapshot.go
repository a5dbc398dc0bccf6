package membership

import (
	"net/netip"
	"slices"
	"time"
)

// ID names a backend for as long as the balancer runs: 1, 2, 3 … in the order in
// which backends were added. An ID is never used again. 0: none.
type ID uint32

// State is whether a backend has its turns.
type State uint8

const (
	// Up has its turns.
	Up State = iota
	// Down has none, or loses them: the policy decides.
	Down
	// Trial is down, but the next turn that comes to it is sent, to see
	// whether it lives.
	Trial
)

var stateNames = [...]string{Up: "up", Down: "down", Trial: "trial"}

// String is the state's name: up, down or trial.
func (s State) String() string { return stateNames[s] }

// Cause is what sort of evidence took a backend down.
type Cause uint8

const (
	Refused         Cause = iota // an ICMP error came back: port, host or network unreachable
	ProbeFailed                  // it did not answer its health checks
	NameNotFound                 // its name leads nowhere
	AddressConflict              // its name leads where it cannot be served, or has not been heard from yet
	Causes                       // how many causes there are
)

var causeNames = [Causes]string{"refused", "probes", "name", "address"}

// String is the cause's name in the metrics.
func (c Cause) String() string { return causeNames[c] }

// Backend is one server at one moment.
type Backend struct {
	ID         ID
	Name       string
	Configured string         // "host:port", as configured
	Addr       netip.AddrPort // where it is; not valid while it is nowhere
	State      State
	Trials     uint64    // how many trials it has been due for; the newest may be under way
	Tried      bool      // it is down and has been due for a trial since
	Since      time.Time // when it went up or down
	Cause      Cause     // why it is down
	Reason     string    // the same for people; empty while it is up
}

// Up says whether it has its turns.
func (b *Backend) Up() bool { return b.State == Up }

// Snapshot is the list of backends at one moment, in turn order. It never
// changes: every change makes a new one.
type Snapshot struct {
	List     uint64 // counted from 1; changes only with the IDs or their order
	Backends []Backend

	owners map[netip.AddrPort]ID
}

// NewSnapshot makes a snapshot of copies of these backends at their addresses.
func NewSnapshot(list uint64, backends ...Backend) *Snapshot {
	s := &Snapshot{List: list, Backends: slices.Clone(backends), owners: map[netip.AddrPort]ID{}}
	for _, b := range backends {
		if b.Addr.IsValid() {
			s.owners[b.Addr] = b.ID
		}
	}
	return s
}

// Owner returns the backend whose address this is, or nil. It is current unless
// the backend has left that address, within the last minute: its last replies
// may still arrive from there.
func (s *Snapshot) Owner(addr netip.AddrPort) (b *Backend, current bool) {
	b = s.Backend(s.owners[addr])
	return b, b != nil && b.Addr == addr
}

// Backend returns the backend of an ID, or nil if it is not in the list.
func (s *Snapshot) Backend(id ID) *Backend {
	if place := s.Place(id); place >= 0 {
		return &s.Backends[place]
	}
	return nil
}

// Place is where a backend stands in the list, counted from 0; -1 if it does not.
func (s *Snapshot) Place(id ID) int {
	return slices.IndexFunc(s.Backends, func(b Backend) bool { return b.ID == id })
}
