package membership

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	interval = 2 * time.Second // ResolveInterval of the labs
	unheard  = "it has not answered from its new address yet"
)

// All that happens to server2 while it is watched and not probed.
func TestTheLifeOfAServer(t *testing.T) {
	back := []string{"server2 up"}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"nothing happens", []step{{"", time.Hour, "+++", nil}}},
		{"it is refused, and tried after two seconds until it answers", []step{
			{"refuse 2", 0, "+-+", []string{"server2 down: connection refused"}},
			{"refuse 2", trialAfter - 1, "+-+", nil},
			{"", 1, "+?+", []string{"server2 trial"}},
			{"refuse 2", time.Hour, "+?+", nil}, // no turn has come to it yet
			{"tried 2", trialAfter - 1, "+-+", []string{"server2 down"}},
			{"tried 2", 1, "+?+", []string{"server2 trial"}},
			{"tried 2", 0, "+-+", []string{"server2 down"}},
			{"answer 2", time.Hour, "+++", back},
			{"answer 2", 0, "+++", nil},
			{"tried 2", 0, "+++", nil},
			{"refuse 2", trialAfter, "+?+", []string{"server2 down: connection refused", "server2 trial"}},
			{"answer 2", time.Hour, "+++", back},
		}},
		{"its address changes, and is looked up every two seconds", []step{
			{"two=192.0.2.22", interval - 1, "+++", nil},
			{"", 1, "+++", []string{"server2 at 192.0.2.22:7"}},
			{"", time.Hour, "+++", nil},
		}},
		{"it is refused where it is no more, and looked up at once", []step{
			{"two=192.0.2.22", 0, "+++", nil},
			{"refuse 2", 0, "+?+", []string{"server2 down: connection refused", "server2 at 192.0.2.22:7, down: " + unheard, "server2 trial"}},
			{"answer 2", 0, "+++", back},
		}},
		{"its name goes and comes back elsewhere", []step{
			{"two=", interval, "+-+", []string{"server2 nowhere, down: its name is gone"}},
			{"tried 2", time.Hour, "+-+", nil}, // there is nowhere to try it
			{"two=192.0.2.22", interval, "+?+", []string{"server2 at 192.0.2.22:7, down: " + unheard, "server2 trial"}},
			{"answer 2", 0, "+++", back},
		}},
		{"its name goes while it waits to be tried", []step{
			{"refuse 2", trialAfter, "+?+", []string{"server2 down: connection refused", "server2 trial"}},
			{"two=", time.Hour, "+-+", []string{"server2 nowhere, down: its name is gone"}},
		}},
		{"its name goes before it is to be tried", []step{
			{"", interval / 2, "+++", nil},
			{"exclude 2", 0, "+-+", []string{"server2 down: host unreachable"}},
			{"refuse 2", 0, "+-+", []string{"server2 down: connection refused"}}, // the newest evidence counts
			{"two=", time.Hour, "+-+", []string{"server2 nowhere, down: its name is gone"}},
		}},
		{"it moves while it waits to be tried", []step{
			{"refuse 2", trialAfter, "+?+", []string{"server2 down: connection refused", "server2 trial"}},
			{"two=192.0.2.22", interval, "+?+", []string{"server2 at 192.0.2.22:7, trial: " + unheard}},
			{"answer 2", 0, "+++", back},
		}},
		{"the resolver fails", []step{{"two=SERVFAIL", time.Hour, "+++", nil}}},
		{"the resolver is silent", []step{{"two=silence", time.Hour, "+++", nil}}},
		{"the resolver is silent about another", []step{
			{"one=silence", interval, "+++", nil},
			{"two=192.0.2.22", interval, "+++", []string{"server2 at 192.0.2.22:7"}},
			{"one=192.0.2.11", lookUpTime + interval, "+++", []string{"server1 at 192.0.2.11:7"}}, // the slow look-up is given up
		}},
		{"its name leads to the balancer", []step{
			{"two=192.0.2.99", time.Hour, "+-+", []string{"server2 nowhere, down: its name leads to the balancer itself"}},
			{"two=192.0.2.2", interval, "+?+", []string{"server2 at 192.0.2.2:7, down: " + unheard, "server2 trial"}},
		}},
		// Docker gives the address of a stopped container to the next one that starts,
		// which may be another server's, while its own name fails rather than vanishes.
		{"its address becomes another's, and back", []step{
			{"two=SERVFAIL", 0, "+++", nil}, // stopped, and what was server3 starts there
			{"three=192.0.2.2", 10 * interval, "+-+", []string{"server2 nowhere, down: its address is server3's now; server3 at 192.0.2.2:7"}},
			{"two=192.0.2.2", interval, "+-+", nil}, // it claims nothing new
			{"two=192.0.2.22", interval, "+?+", []string{"server2 at 192.0.2.22:7, down: " + unheard, "server2 trial"}},
			{"answer 2", 0, "+++", back},
			{"two=192.0.2.2", interval, "++-", []string{"server2 at 192.0.2.2:7; server3 nowhere, down: its address is server2's now"}},
			{"two=", 2 * interval, "+-?", []string{"server2 nowhere, down: its name is gone", "server3 at 192.0.2.2:7, down: " + unheard, "server3 trial"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := threeUp(t, Probe{})
				l.watch(t)
				l.play(t, tt.steps...)
			})
		})
	}
}

func TestEvidenceFromElsewhereDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		old := l.now(2).Addr
		l.names.set("two", "192.0.2.22")
		l.lookUpAll(t)
		l.Failed(Evidence{Backend: 2, Addr: old})
		l.Failed(Evidence{Backend: 4, Addr: old})
		l.expect(t, "a refusal of the old address, and of nobody", "+++", "server2 at 192.0.2.22:7")
		l.refuse(2, "connection refused")
		l.Answered(2, old)
		l.Answered(4, old)
		l.Tried(4)
		l.expect(t, "a late reply from the old address", "+-+", "server2 down: connection refused")
	})
}

// Nothing adds or removes servers yet. What is published is ready for it.
func TestTheNumberOfTheListChangesOnlyWithTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		l.refuse(2, "connection refused")
		all := slices.Clone(l.members)
		for i, tt := range []struct {
			members []*member
			list    uint64
		}{
			{all, 1},
			{all[:2], 2},
			{append(all[:2:2], &member{Backend: Backend{ID: 4, State: Down, Reason: "it is new"}}), 3},
			{[]*member{all[1], all[0]}, 4},
			{all, 5},
		} {
			l.Members.mu.Lock()
			l.members = tt.members
			l.publish(time.Now())
			l.Members.mu.Unlock()
			s := l.Snapshot()
			if last := len(s.Backends) - 1; s.List != tt.list || s.Place(s.Backends[last].ID) != last || s.Backend(9) != nil {
				t.Errorf("step %d: list %d, want %d: %+v", i+1, s.List, tt.list, s)
			}
		}
	})
}

func TestCausesHaveTheirNamesInTheMetrics(t *testing.T) {
	if got := fmt.Sprint(Refused, ProbeFailed, NameNotFound, AddressConflict); got != "refused probes name address" {
		t.Errorf("got %s", got)
	}
}

// Many goroutines tell what they see and ask where to send, as the data path
// does, while names change. The race detector and goleak look on.
func TestEvidenceFromEverywhereAtOnce(t *testing.T) {
	l := threeUp(t, Probe{})
	ctx, cancel := context.WithCancel(t.Context())
	var busy, running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	for w := range 4 {
		busy.Go(func() {
			for k := range 500 {
				id := ID((w+k)%3 + 1)
				switch l.Owner(l.now(id).Addr); k % 4 {
				case 0:
					l.refuse(id, "connection refused")
				case 1:
					l.Tried(id)
				case 2:
					l.answer(id)
				case 3:
					l.names.set("two", fmt.Sprintf("192.0.2.%d", 2+k%20*10))
					l.lookUpAgain(ctx, l.members[1])
				}
			}
		})
	}
	busy.Wait()
	cancel()
	running.Wait()
}
