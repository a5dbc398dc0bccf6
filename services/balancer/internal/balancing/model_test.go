package balancing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is the rotation as one would explain it at a blackboard: the backends
// stand in a line, and whoever has had a turn walks to its end. It shares
// nothing with the code but the type of a turn.
type model struct {
	line     []int   // whose place comes first, first
	state    []State // by backend
	whenDown WhenDown
	taken    int
}

func newModel(n int, whenDown WhenDown) *model {
	m := &model{whenDown: whenDown, state: make([]State, n)}
	for b := range n {
		m.line = append(m.line, b)
	}
	return m
}

// nobody says that no datagram would reach anybody, so that none takes a turn.
func (m *model) nobody() bool {
	return !slices.ContainsFunc(m.state, func(s State) bool { return s != Down })
}

// toTheEnd sends the first of the line to its end.
func (m *model) toTheEnd() int {
	first := m.line[0]
	m.line = append(m.line[1:], first)
	return first
}

// next is whose turn would come.
func (m *model) next() (int, bool) {
	if m.nobody() {
		return 0, false
	}
	for _, b := range m.line {
		if m.whenDown == Hold || m.state[b] != Down {
			return b, true
		}
	}
	panic("somebody is not down")
}

// take is what becomes of n datagrams.
func (m *model) take(n int) (turns []Turn) {
	for len(turns) < n && !m.nobody() {
		turn := Turn{Number: uint64(m.taken)}
		for m.whenDown == Skip && m.state[m.line[0]] == Down {
			m.toTheEnd()
			turn.Skipped++
		}
		turn.Backend = m.toTheEnd()
		switch m.state[turn.Backend] {
		case Down:
			turn.DroppedDown = true
		case Trial:
			turn.Trial = true
			m.state[turn.Backend] = Down
		}
		m.taken++
		turns = append(turns, turn)
	}
	return turns
}

// pair is the code and the model side by side.
type pair struct {
	code  *Rotation
	model *model
	story []any // what was done to both: states set, batches taken
}

func newPair(n int, whenDown WhenDown) *pair {
	return &pair{code: New(n, whenDown), model: newModel(n, whenDown)}
}

// at puts both at a place in the circle.
func (p *pair) at(place int) {
	p.code.Resume(0, place)
	for p.model.line[0] != place {
		p.model.toTheEnd()
	}
}

// set brings all backends to the states of a pattern.
func (p *pair) set(pattern []State) {
	p.story = append(p.story, pattern)
	for b, s := range pattern {
		p.code.Set(b, s)
		p.model.state[b] = s
	}
}

// take takes a batch of both and says how they differ; empty: not at all.
func (p *pair) take(n int) string {
	p.story = append(p.story, n)
	codeNext, codeOK := p.code.Next()
	modelNext, modelOK := p.model.next()
	got := make([]Turn, n)
	got = got[:p.code.Take(got)]
	want := p.model.take(n)
	switch {
	case codeOK != modelOK || codeOK && codeNext.Backend != modelNext:
		return fmt.Sprintf("%v: next is %d (%v), want %d (%v)", p.story, codeNext.Backend, codeOK, modelNext, modelOK)
	case codeOK && len(got) > 0 && codeNext != got[0]:
		return fmt.Sprintf("%v: the next turn was to be %+v and became %+v", p.story, codeNext, got[0])
	case !slices.Equal(got, want):
		return fmt.Sprintf("%v:\ngot  %+v\nwant %+v", p.story, got, want)
	}
	return ""
}

// patterns lists every way in which n backends can be up, down and on trial.
func patterns(n int, states []State) (all [][]State) {
	if n == 0 {
		return [][]State{nil}
	}
	for _, rest := range patterns(n-1, states) {
		for _, s := range states {
			all = append(all, append(slices.Clone(rest), s))
		}
	}
	return all
}

// Every pattern, then every other pattern, from every place in the circle, in
// batches of one, of a part of a round, of a round, and of more.
func TestEveryPatternOfUpAndDownIsTheModels(t *testing.T) {
	anything, upOrDown := []State{Up, Down, Trial}, []State{Up, Down}
	for _, tt := range []struct {
		n     int
		first []State // what the first pattern is made of; the second, of anything
		sizes []int
	}{
		{2, anything, []int{0, 1, 2, 3, 5}},
		{3, anything, []int{0, 1, 2, 3, 4, 7}},
		{5, upOrDown, []int{1, 2, 11}},
	} {
		for _, whenDown := range []WhenDown{Skip, Hold} {
			t.Run(fmt.Sprintf("%v/backends=%d", whenDown, tt.n), func(t *testing.T) {
				cases, seconds := 0, patterns(tt.n, anything)
				for _, first := range patterns(tt.n, tt.first) {
					for _, second := range seconds {
						for place := range tt.n {
							for _, size := range tt.sizes {
								p := newPair(tt.n, whenDown)
								p.at(place)
								for _, pattern := range [][]State{first, second} {
									p.set(pattern)
									if differ := p.take(size); differ != "" {
										t.Fatalf("from place %d: %s", place, differ)
									}
								}
								cases++
							}
						}
					}
				}
				t.Logf("%d cases", cases)
			})
		}
	}
}

// Long histories of more backends, too many to play all of them.
func TestRandomHistoriesAreTheModels(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2_000 {
		n := 1 + random.IntN(12)
		p := newPair(n, WhenDown(random.IntN(2)))
		for range 40 {
			pattern := slices.Clone(p.code.states)
			for range random.IntN(3) {
				pattern[random.IntN(n)] = State(random.IntN(3))
			}
			p.set(pattern)
			if differ := p.take(random.IntN(2*n + 3)); differ != "" {
				t.Fatalf("seed %d, %d backends, %v: %s", seed, n, p.model.whenDown, differ)
			}
		}
	}
}
