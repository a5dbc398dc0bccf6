package balancing

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"udplab/services/balancer/internal/membership"
)

// take returns whose n turns are, as IDs; a turn that is kept by a server that is
// down is shown as ✗, a trial with ?.
func take(s *Scheduler, n int) (out string) {
	turns := make([]Turn, n)
	for _, turn := range turns[:s.Take(turns)] {
		switch {
		case turn.DroppedDown:
			out += "✗"
		case turn.Trial:
			out += fmt.Sprint(turn.Backend.ID) + "?"
		default:
			out += fmt.Sprint(turn.Backend.ID)
		}
	}
	return out
}

// started is a scheduler for some servers.
func started(n int, whenDown WhenDown) (*servers, *Scheduler) {
	list, s := newServers(n), New(whenDown)
	s.Apply(list.snapshot(), nil)
	return list, s
}

// What a person would expect, as one may write it on a blackboard; the model plays
// everything else.
func TestWhoseTurnItIs(t *testing.T) {
	type step struct {
		change string // "2 down" or "list 1 3 4"
		n      int    // turns asked for
		want   string
	}
	for _, tt := range []struct {
		name     string
		whenDown WhenDown
		steps    []step
	}{
		{"the order of the list, on and on", Skip, []step{{"", 10, "1231231231"}, {"", 10, "2312312312"}}},
		{"skip gives a turn to the next and goes on after that one", Skip, []step{{"2 down", 5, "13131"}, {"2 up", 4, "2312"}}},
		{"hold keeps its turn", Hold, []step{{"2 down", 5, "1✗31✗"}, {"2 up", 4, "3123"}}},
		{"no turn is taken while none is up", Skip, []step{{"list 1", 3, "111"}, {"1 down", 3, ""}, {"1 up", 2, "11"}}},
		{"none is held either", Hold, []step{{"list 1 2", 0, ""}, {"1 down", 0, ""}, {"2 down", 3, ""}, {"1 up", 4, "1✗1✗"}}},
		{"a trial is one turn and then down again", Skip, []step{{"2 down", 3, "131"}, {"2 trial", 6, "2?31313"}}},
		{"a trial under hold", Hold, []step{{"2 down", 2, "1✗"}, {"2 trial", 7, "312?31✗3"}}},
		{"a trial that was used is not had again because of other news", Skip, []step{
			{"2 trial", 3, "12?3"}, {"3 down", 3, "111"}, {"3 up", 2, "31"}, {"2 trial", 3, "2?31"},
		}},
		{"a fourth after a whole round", Skip, []step{{"", 3, "123"}, {"list 1 2 3 4", 5, "12341"}}},
		{"a fourth in the middle of a round", Skip, []step{{"", 2, "12"}, {"list 1 2 3 4", 5, "34123"}}},
		{"the one that was next is gone: its successor", Skip, []step{{"", 1, "1"}, {"list 1 3", 5, "31313"}}},
		{"the last one was next and is gone", Skip, []step{{"", 2, "12"}, {"list 1 2", 5, "12121"}}},
		{"all are gone", Skip, []step{{"", 1, "1"}, {"list 4 5", 5, "45454"}, {"list", 3, ""}}},
		{"another order", Skip, []step{{"", 1, "1"}, {"list 3 2 1", 5, "21321"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, s := started(3, tt.whenDown)
			for i, step := range tt.steps {
				if ids, ok := strings.CutPrefix(step.change, "list"); ok {
					var changed []membership.Backend
					for _, id := range strings.Fields(ids) {
						changed = append(changed, newServer(int(id[0]-'0')))
					}
					list.change(changed)
				} else if id, state, ok := strings.Cut(step.change, " "); ok {
					list.set(int(id[0]-'1'), map[string]membership.State{"up": membership.Up, "down": membership.Down, "trial": membership.Trial}[state])
				}
				s.Apply(list.snapshot(), nil)
				if got := take(s, step.n); got != step.want {
					t.Fatalf("step %d: %q, want %q", i+1, got, step.want)
				}
			}
		})
	}
}

func TestResumeGoesOnWhereAnotherStood(t *testing.T) {
	_, s := started(3, Skip)
	s.Resume(10, 1)
	turns := make([]Turn, 1)
	if s.Take(turns); turns[0].Number != 11 || turns[0].Backend.ID != 2 {
		t.Errorf("got %+v", turns[0])
	}
	if turns, next := s.Cursor(); turns != 11 || next != 2 {
		t.Errorf("after turn %d, at place %d", turns, next)
	}
}

// Many goroutines take turns while the states and the list change: every number is
// given once, and every turn follows the one before by the check of order.
func TestTurnsAreExactOverManyGoroutines(t *testing.T) {
	for _, tt := range []struct {
		name                            string
		servers, workers, batches, size int
		whenDown                        WhenDown
		changes                         int // every so many batches; 0: never
	}{
		{"one by one", 3, 2, 9_000, 1, Skip, 0},
		{"in batches", 5, 4, 500, 64, Skip, 0},
		{"while servers come and go, skip", 3, 4, 2_000, 5, Skip, 2},
		{"while servers come and go, hold", 3, 4, 2_000, 5, Hold, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, s := started(tt.servers, tt.whenDown)
			order := NewOrder()
			order.Apply(list.snapshot(), 1)
			var mu sync.Mutex // guards the list and the order: changes come one by one
			change := func(i int) {
				mu.Lock()
				defer mu.Unlock()
				switch i % 5 {
				case 0:
					list.change(append(slices.Clone(list.list), newServer(100+int(list.version))))
				case 1:
					list.change(slices.Delete(slices.Clone(list.list), i%len(list.list), i%len(list.list)+1))
				default:
					list.set(i%len(list.list), membership.State(i/3%3))
				}
				snapshot := list.snapshot()
				s.Apply(snapshot, func(turn uint64) { order.Apply(snapshot, turn) })
			}
			taken := make([][]Turn, tt.workers)
			var wg sync.WaitGroup
			for w := range tt.workers {
				wg.Go(func() {
					for i := range tt.batches {
						turns := make([]Turn, tt.size)
						taken[w] = append(taken[w], turns[:s.Take(turns)]...)
						if tt.changes > 0 && i%tt.changes == 0 {
							change(i + w)
						}
					}
				})
			}
			wg.Wait()
			all := slices.Concat(taken...)
			slices.SortFunc(all, func(a, b Turn) int { return int(a.Number) - int(b.Number) })
			for i, turn := range all {
				if turn.Number != uint64(i+1) {
					t.Fatalf("turn %d is missing or double: found %d", i+1, turn.Number)
				}
				if i > 0 && !order.Follows(all[i-1].Step, turn.Step) {
					t.Fatalf("turn %d of %+v follows %+v", i+1, turn.Step, all[i-1].Step)
				}
			}
			if want := tt.workers * tt.batches * tt.size; tt.changes == 0 && len(all) != want {
				t.Errorf("%d turns, want %d", len(all), want)
			}
		})
	}
}

func TestTheOrderKnowsTheListsOfTheTurnsItIsAskedAbout(t *testing.T) {
	o := NewOrder()
	list := newServers(3)
	o.Apply(list.snapshot(), 1)
	o.Apply(list.snapshot(), 3) // the same list
	list.change(append(slices.Clone(list.list), newServer(4)))
	o.Apply(list.snapshot(), 5)
	list.change(list.list[1:])
	o.Apply(list.snapshot(), 9)
	for _, tt := range []struct {
		step Step
		want string
	}{{Step{List: 1, Place: 0}, "server3"}, {Step{List: 1, Place: 2, Skipped: 1}, "server1"}, {Step{List: 2, Place: 0, Skipped: 3}, "server1"}} {
		if b := o.Before(tt.step); b.Name != tt.want {
			t.Errorf("before %+v comes %s, want %s", tt.step, b.Name, tt.want)
		}
	}
	if !o.Follows(Step{List: 1, Place: 2}, Step{List: 3, Place: 0}) { // server1 is gone: server2
		t.Error("over two changes the successor's turn is not in order")
	}
	if o.Follows(Step{List: 2, Place: 2}, Step{List: 1, Place: 0}) {
		t.Error("a turn of an older list may follow")
	}
	for turn, want := range []int{1: 3, 2: 3, 4: 3, 5: 2, 8: 2, 9: 1, 100: 1} {
		if want == 0 {
			continue
		}
		if o.Forget(uint64(turn)); len(o.lists) != want || len(o.from) != want {
			t.Errorf("from turn %d on: %d lists, want %d", turn, len(o.lists), want)
		}
	}
	if !o.Follows(Step{List: 2, Place: 2}, Step{List: 3, Place: 2}) || o.Before(Step{List: 2}) != nil {
		t.Error("something is said about a list that is forgotten")
	}
}

func TestWhenDownReadsItsTwoNames(t *testing.T) {
	for text, want := range map[string]string{"skip": "", "hold": "", "wait": `"wait" is neither skip nor hold`} {
		var w WhenDown
		if err := w.UnmarshalText([]byte(text)); err == nil && string(w) != text || (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, %v", text, w, err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			_, s := started(3, Skip)
			turns := make([]Turn, batch)
			for b.Loop() {
				s.Take(turns)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/turn")
		})
	}
}
