package balancing

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// take returns the backends of n turns as a string of places counted from 1;
// a held turn is shown as ✗, a trial with ?.
func take(r *Rotation, n int) string {
	turns := make([]Turn, n)
	out := ""
	for _, turn := range turns[:r.Take(turns)] {
		switch {
		case turn.DroppedDown:
			out += "✗"
		case turn.Trial:
			out += fmt.Sprint(turn.Backend+1) + "?"
		default:
			out += fmt.Sprint(turn.Backend + 1)
		}
	}
	return out
}

func TestTurnsGoRoundInTheOrderOfConfiguration(t *testing.T) {
	r := New(3, Skip)
	for run, want := range []string{"1231231231", "2312312312", "3123123123"} {
		if got := take(r, 10); got != want {
			t.Errorf("run %d: %s, want %s", run+1, got, want)
		}
	}
	if number, next := r.Cursor(); number != 30 || next != 0 {
		t.Errorf("cursor at turn %d, backend %d", number, next)
	}
}

func TestWhenABackendIsDown(t *testing.T) {
	type step struct {
		backend int // counted from 1; 0: no change
		state   State
		n       int
		want    string
	}
	for _, tt := range []struct {
		name     string
		n        int
		whenDown WhenDown
		steps    []step
	}{
		{"skip gives its turn to the next and goes on after that one", 3, Skip, []step{
			{2, Down, 5, "13131"}, {2, Up, 4, "2312"},
		}},
		{"hold keeps its turn", 3, Hold, []step{
			{2, Down, 5, "1✗31✗"}, {2, Up, 4, "3123"},
		}},
		{"skip passes over several in a row", 5, Skip, []step{
			{2, Down, 0, ""}, {3, Down, 0, ""}, {4, Down, 5, "15151"},
		}},
		{"no turn is taken while none is up", 2, Skip, []step{
			{1, Down, 1, "2"}, {2, Down, 3, ""}, {2, Up, 2, "22"}, {1, Up, 3, "121"},
		}},
		{"no turn is held while none is up", 2, Hold, []step{
			{1, Down, 0, ""}, {2, Down, 3, ""}, {1, Up, 4, "1✗1✗"},
		}},
		{"a trial is one turn and then down again", 3, Skip, []step{
			{2, Down, 3, "131"}, {2, Trial, 6, "2?31313"},
		}},
		{"a trial under hold", 3, Hold, []step{
			{2, Down, 2, "1✗"}, {2, Trial, 7, "312?31✗3"},
		}},
		{"a trial while none is up takes one turn, the rest none", 3, Skip, []step{
			{1, Down, 0, ""}, {2, Down, 0, ""}, {3, Down, 1, ""}, {2, Trial, 5, "2?"}, {3, Up, 2, "33"},
		}},
		{"one backend alone", 1, Skip, []step{{0, Up, 3, "111"}, {1, Down, 3, ""}, {1, Up, 2, "11"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := New(tt.n, tt.whenDown)
			for i, s := range tt.steps {
				if s.backend > 0 {
					r.Set(s.backend-1, s.state)
				}
				next, ok := r.Next()
				got := take(r, s.n)
				if got != s.want {
					t.Fatalf("step %d: %q, want %q", i+1, got, s.want)
				}
				if got != "" && got[0] != "✗"[0] && (!ok || got[0] != byte('1'+next.Backend)) {
					t.Fatalf("step %d: next was said to be %d (%v), and then came %s", i+1, next.Backend+1, ok, got)
				}
				if s.n > 0 && got == "" && ok {
					t.Fatalf("step %d: a next turn was promised, none was given", i+1)
				}
			}
		})
	}
}

func TestPassedCountsWhomATurnPassedOver(t *testing.T) {
	r := New(4, Skip)
	r.Set(1, Down)
	r.Set(2, Down)
	turns := make([]Turn, 4)
	r.Take(turns)
	var passed []int
	for _, turn := range turns {
		passed = append(passed, turn.Skipped)
	}
	if want := []int{0, 2, 0, 2}; !slices.Equal(passed, want) {
		t.Errorf("passed %v, want %v", passed, want)
	}
}

func TestResumeGoesOnWhereAnotherStood(t *testing.T) {
	r := New(3, Skip)
	take(r, 10)
	again := New(3, Skip)
	again.Resume(r.Cursor())
	turns := make([]Turn, 1)
	again.Take(turns)
	if turns[0] != (Turn{Number: 10, Backend: 1}) {
		t.Errorf("got %+v", turns[0])
	}
}

// k backends × m turns from w goroutines are exactly m·w/k each, every number
// once, and in order: turn t is backend t mod k's.
func TestTurnsAreExactOverManyGoroutines(t *testing.T) {
	for _, tt := range []struct{ backends, workers, batch, batches int }{
		{3, 2, 1, 9_000}, {3, 4, 64, 300}, {5, 8, 7, 500}, {2, 3, 1000, 20}, {7, 16, 3, 700},
	} {
		t.Run(fmt.Sprintf("backends=%d/workers=%d/batch=%d", tt.backends, tt.workers, tt.batch), func(t *testing.T) {
			r := New(tt.backends, Skip)
			taken := make([][]Turn, tt.workers)
			var wg sync.WaitGroup
			for w := range tt.workers {
				wg.Go(func() {
					for range tt.batches {
						turns := make([]Turn, tt.batch)
						r.Take(turns)
						taken[w] = append(taken[w], turns...)
					}
				})
			}
			wg.Wait()
			all := slices.Concat(taken...)
			slices.SortFunc(all, func(a, b Turn) int { return int(a.Number) - int(b.Number) })
			shares := make([]int, tt.backends)
			for i, turn := range all {
				if turn.Number != uint64(i) || turn.Backend != i%tt.backends {
					t.Fatalf("turn %d is number %d of backend %d", i, turn.Number, turn.Backend)
				}
				shares[turn.Backend]++
			}
			total := tt.workers * tt.batch * tt.batches
			for b, share := range shares {
				if want := total / tt.backends; share < want || share > want+1 {
					t.Errorf("backend %d has %d of %d turns, want %d", b, share, total, want)
				}
			}
		})
	}
}

// While a backend goes down and comes up, no number is given twice or left
// out, and every turn follows the one before, passing over no more than it says.
func TestTurnsAreExactWhileBackendsComeAndGo(t *testing.T) {
	const backends, workers, batches, batch = 3, 4, 2_000, 5
	for _, whenDown := range []WhenDown{Skip, Hold} {
		t.Run(whenDown.String(), func(t *testing.T) {
			r := New(backends, whenDown)
			taken := make([][]Turn, workers)
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := range batches {
						turns := make([]Turn, batch)
						taken[w] = append(taken[w], turns[:r.Take(turns)]...)
						r.Set((w+i)%backends, State((i/3)%3))
					}
				})
			}
			wg.Wait()
			all := slices.Concat(taken...)
			slices.SortFunc(all, func(a, b Turn) int { return int(a.Number) - int(b.Number) })
			before := backends - 1
			for i, turn := range all {
				if turn.Number != uint64(i) {
					t.Fatalf("turn %d is missing or double: found %d", i, turn.Number)
				}
				if want := (before + 1 + turn.Skipped) % backends; turn.Backend != want {
					t.Fatalf("turn %d went from backend %d to %d, passing %d", i, before, turn.Backend, turn.Skipped)
				}
				before = turn.Backend
			}
		})
	}
}

func TestWhenDownReadsItsTwoNames(t *testing.T) {
	var w WhenDown
	if err := w.UnmarshalText([]byte("hold")); err != nil || w != Hold {
		t.Errorf("hold: %v, %v", w, err)
	}
	if err := w.UnmarshalText([]byte("wait")); err == nil {
		t.Error("wait was taken")
	}
}

func BenchmarkTake(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			r := New(3, Skip)
			turns := make([]Turn, batch)
			for b.Loop() {
				r.Take(turns)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/turn")
		})
	}
}
