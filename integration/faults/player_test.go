package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// modelLab is a lab of nothing but rules: who runs, who is frozen, who is
// where. It refuses what no lab could do, and takes its time like any.
type modelLab struct {
	names *Names

	mu     sync.Mutex
	dice   *rand.Rand
	slow   time.Duration // the longest that anything takes
	runs   map[string]netip.Addr
	frozen map[string]bool
	done   map[string]int // what was done how often
	fail   string         // a part that cannot be started
}

func newModelLab(seed uint64, slow time.Duration) *modelLab {
	return &modelLab{
		names: newNames(), dice: rand.New(rand.NewPCG(seed, 9)), slow: slow,
		runs: map[string]netip.Addr{}, frozen: map[string]bool{}, done: map[string]int{},
	}
}

// nowhere is where the balancer is: it has no place.
var nowhere = netip.MustParseAddr("0.0.0.0")

func (m *modelLab) Site() Site {
	return Site{Names: m.names, Places: Places(netip.MustParseAddr("127.0.0.11"))}
}

func (m *modelLab) PID(context.Context, string) (int, error) { return 0, nil }

// do makes one change if it is allowed, after a while.
func (m *modelLab) do(what, part string, allowed func(running bool) bool, change func()) error {
	m.mu.Lock()
	takes := time.Duration(m.dice.Int64N(int64(m.slow)))
	m.mu.Unlock()
	time.Sleep(takes)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, running := m.runs[part]
	if !allowed(running) {
		return fmt.Errorf("%s %s: it runs: %v, frozen: %v, places: %v", what, part, running, m.frozen[part], m.runs)
	}
	m.done[what]++
	change()
	return nil
}

func (m *modelLab) Start(_ context.Context, part string, place netip.Addr) error {
	if part == m.fail {
		return errors.New("it cannot be started")
	}
	if part == balancer {
		place = nowhere
	}
	return m.do("start", part, func(running bool) bool {
		for _, other := range m.runs {
			if other == place {
				return false // two at one address
			}
		}
		return !running && place.IsValid()
	}, func() { m.runs[part] = place })
}

func (m *modelLab) End(_ context.Context, part string, signal syscall.Signal) (string, error) {
	return "", m.do(signal.String(), part, func(running bool) bool { return running && !m.frozen[part] }, func() { delete(m.runs, part) })
}

func (m *modelLab) Freeze(_ context.Context, part string, frozen bool) error {
	return m.do("freeze", part, func(running bool) bool { return running && m.frozen[part] != frozen }, func() { m.frozen[part] = frozen })
}

func TestWhateverBreaksIsMended(t *testing.T) {
	for _, slow := range []time.Duration{time.Millisecond, 2 * time.Second} {
		for seed := range uint64(100) {
			synctest.Test(t, func(t *testing.T) {
				lab := newModelLab(seed, slow)
				p := newPlayer(lab)
				revived := 0
				p.ended = func(Kind, uint64) (func(context.Context) error, error) {
					return func(context.Context) error { revived++; return nil }, nil
				}
				if err := p.open(t.Context()); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if err := p.play(t.Context(), Schedule(seed, Short)); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				took := time.Since(begin)
				lab.expectWhole(t, p)
				switch {
				case slow > time.Second && took > 2*Short+30*time.Second:
					t.Errorf("seed %d: a slow lab took %v", seed, took)
				case slow < time.Second && (took > Short+2*time.Second || revived < len(restarts) || lab.done["freeze"] < 4 || lab.done[syscall.SIGKILL.String()] < len(servers)):
					t.Errorf("seed %d: in %v, %d restarts of the balancer and %v", seed, took, revived, lab.done)
				}
			})
		}
	}
}

// expectWhole wants everybody to run where the resolver says, and nobody else.
func (m *modelLab) expectWhole(t *testing.T, p *player) {
	t.Helper()
	if len(m.runs) != 1+len(servers) || m.runs[balancer] != nowhere || m.names.silent {
		t.Errorf("these run: %v, the resolver is silent: %v", m.runs, m.names.silent)
	}
	known, really := m.names.places(), p.places()
	for _, server := range servers {
		if at := m.runs[server]; !at.IsValid() || at != known[server] || at != really[server] || m.frozen[server] {
			t.Errorf("%s is at %v, frozen %v; the resolver says %v, the player %v", server, at, m.frozen[server], known[server], really[server])
		}
	}
}

func TestWhatCannotBeBrokenEndsThePlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newModelLab(1, time.Millisecond)
		p := newPlayer(lab)
		if err := p.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		lab.fail = guest
		begin := time.Now()
		err := p.play(t.Context(), Schedule(1, time.Hour))
		if err == nil || time.Since(begin) > time.Minute {
			t.Errorf("play ended after %v with %v", time.Since(begin), err)
		}
	})
}

func TestAStrangerIsAnnouncedBeforeItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newModelLab(1, time.Millisecond)
		p := newPlayer(lab)
		if err := p.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		announced := false
		p.usurped = func() { announced = lab.runs[guest] == netip.Addr{} }
		before := p.at("server2")
		f := Fault{Kind: Usurped, Servers: []string{"server2"}}
		if err := p.inflict(t.Context(), f); err != nil || !announced {
			t.Fatalf("%v, announced: %v", err, announced)
		}
		if lab.runs[guest] != before || lab.names.places()["server2"] != before {
			t.Errorf("the guest is at %v, the name at %v, want server2's %v", lab.runs[guest], lab.names.places()["server2"], before)
		}
		if err := p.mend(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if after := p.at("server2"); after == before {
			t.Errorf("server2 is at %v again", after)
		}
		lab.expectWhole(t, p)
	})
}
