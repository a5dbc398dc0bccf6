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
		shown := fmt.Sprint(turn.Backend.ID)
		if turn.DroppedDown {
			shown = "✗"
		} else if turn.Trial {
			shown += "?"
		}
		out += shown
	}
	return out
}

// What a person would expect, as one may write it on a blackboard; the model plays
// everything else.
func TestWhoseTurnItIs(t *testing.T) {
	type step struct {
		change string // such as "2 down"
		n      int    // turns asked for
		want   string
	}
	for _, tt := range []struct {
		name     string
		servers  int
		whenDown WhenDown
		steps    []step
	}{
		{"the order of the list, on and on", 3, Skip, []step{{"", 10, "1231231231"}, {"", 10, "2312312312"}}},
		{"skip gives a turn to the next and goes on after that one", 3, Skip, []step{{"2 down", 5, "13131"}, {"2 up", 4, "2312"}}},
		{"hold keeps its turn", 3, Hold, []step{{"2 down", 5, "1✗31✗"}, {"2 up", 4, "3123"}}},
		{"no turn is taken while none is up", 1, Skip, []step{{"", 3, "111"}, {"1 down", 3, ""}, {"1 up", 2, "11"}}},
		{"none is held either", 2, Hold, []step{{"1 down", 0, ""}, {"2 down", 3, ""}, {"1 up", 4, "1✗1✗"}}},
		{"a trial is one turn and then down again", 3, Skip, []step{{"2 down", 3, "131"}, {"2 trial", 6, "2?31313"}}},
		{"a trial under hold", 3, Hold, []step{{"2 down", 2, "1✗"}, {"2 trial", 7, "312?31✗3"}}},
		{"a trial that was used is not had again because of other news", 3, Skip, []step{
			{"2 trial", 3, "12?3"}, {"3 down", 3, "111"}, {"3 up", 2, "31"}, {"2 trial", 3, "2?31"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, s := started(tt.servers, tt.whenDown)
			for i, step := range tt.steps {
				if id, state, ok := strings.Cut(step.change, " "); ok {
					list.set(int(id[0]-'1'), map[string]membership.State{"up": membership.Up, "down": membership.Down, "trial": membership.Trial}[state])
				}
				s.Apply(list.snapshot())
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

// Many goroutines take turns while the states change: every number is
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
			var mu sync.Mutex // guards the list: changes come one by one
			change := func(i int) {
				mu.Lock()
				defer mu.Unlock()
				list.set(i%len(list), membership.State(i/3%3))
				s.Apply(list.snapshot())
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
				if i > 0 && !Follows(all[i-1].Step, turn.Step, tt.servers) {
					t.Fatalf("turn %d of %+v follows %+v", i+1, turn.Step, all[i-1].Step)
				}
			}
			if want := tt.workers * tt.batches * tt.size; tt.changes == 0 && len(all) != want {
				t.Errorf("%d turns, want %d", len(all), want)
			}
		})
	}
}

func TestWhoseTurnCameBefore(t *testing.T) {
	for step, want := range map[Step]int{{Place: 0}: 2, {Place: 1}: 0, {Place: 2, Skipped: 1}: 0, {Place: 0, Skipped: 2}: 0} {
		if place := Before(step, 3); place != want {
			t.Errorf("before %+v comes place %d, want %d", step, place, want)
		}
	}
}

func TestWhenDownReadsItsTwoNames(t *testing.T) {
	for text, want := range map[string]string{"skip": "skip <nil>", "hold": "hold <nil>", "wait": ` "wait" is neither skip nor hold`} {
		var w WhenDown
		err := w.UnmarshalText([]byte(text))
		if got := fmt.Sprintf("%s %v", w, err); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
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
