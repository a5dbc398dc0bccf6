package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// What a game looks at before things break, whenever the balancer starts again,
// and when all is whole.

// saveLooks is how many looks of the witness's the state file of a balancer that
// was killed may be behind: a second by promise, and two for a busy machine. A
// balancer that is frozen answers no looks and saves nothing.
const saveLooks = int(3 * time.Second / lookEvery)

// baseline is what a balancer has open that has been at work and has nothing to
// do. It ends it, which is the only way to see its goroutines.
func (g *game) baseline() (open, running census) {
	g.Helper()
	g.awaitWhole()
	g.expectOrder("")
	g.awaitQuiet()
	pid, err := g.lab.PID(g.within())
	g.must(err)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for range 10 { // some have a probe or a look-up under way
		now, err := files(pid)
		g.must(err)
		if open == nil {
			open = now
		}
		open = open.least(now)
		<-look.C
	}
	stacks, err := g.lab.Dump(g.within())
	g.must(err)
	running = goroutines(stacks)
	if open["socket"] < 2 || running.total() < 2 {
		g.Fatalf("the balancer has %v open and %v running: this test sees nothing", open, running)
	}
	g.Logf("at rest the balancer has %v open, and %d goroutines", open, running.total())
	return open, running
}

// expectOrder sends a few datagrams from one client that waits, all of which
// have to be answered, in turn. From is whose turn it is, "" for whoever's the
// balancer says; it returns whose turn is next. If a server went down or up
// meanwhile, the order is not known, and it tries again.
func (g *game) expectOrder(from string) (next string) {
	g.Helper()
	const datagrams = 10
	g.awaitQuiet()
	for range 5 {
		before, err := askStatus(g.within(), g.lab.URL())
		g.must(err)
		if from == "" && before.Next != nil {
			from = *before.Next
		}
		var order []string
		var want []string
		place := slices.Index(servers, from)
		conn, err := g.crowd.dial()
		g.must(err)
		client := g.books.Client()
		for i := range datagrams {
			want = append(want, servers[(place+i)%len(servers)])
			order = append(order, exchange(conn, client))
		}
		conn.Close()
		after := before
		g.eventually("every answer is in the books", func() (bool, any) { // it may be with its client a little before
			after, err = askStatus(g.Context(), g.lab.URL())
			return err == nil && after.Replied >= before.Replied+uint64(len(order)), after
		})
		if !slices.Equal(before.states(), after.states()) {
			from = ""
			g.awaitWhole()
			continue
		}
		if !slices.Equal(order, want) {
			g.Errorf("%d datagrams one by one are answered by %v, want %v", datagrams, order, want)
		}
		if after.Received != before.Received+datagrams || after.Forwarded != before.Forwarded+datagrams || after.Replied != before.Replied+datagrams {
			g.Errorf("after %d datagrams: %v; before them: %v", datagrams, after, before)
		}
		return servers[(place+datagrams)%len(servers)]
	}
	g.Fatal("servers go down and up with nothing broken")
	return ""
}

// expectNothingLeft wants the balancer to have no more open and running than at
// the beginning. It ends it.
func (g *game) expectNothingLeft(open, running census) {
	g.Helper()
	g.awaitQuiet()
	g.eventually("every turn is saved", func() (bool, any) {
		s, err := askStatus(g.Context(), g.lab.URL())
		saved, wrong := savedTurns(g.lab.StateFile())
		return err == nil && wrong == nil && saved == s.Turns, fmt.Sprintf("%d saved (%v) of %d (%v)", saved, wrong, s.Turns, err)
	})
	pid, err := g.lab.PID(g.within())
	g.must(err)
	g.eventually(fmt.Sprintf("no more open than %v", open), func() (bool, any) {
		now, err := files(pid)
		return err == nil && now.beyond(open) == nil, now
	})
	stacks, err := g.lab.Dump(g.within())
	g.must(err)
	if more := goroutines(stacks).beyond(running); more != nil {
		g.Errorf("more goroutines than at the beginning: %s", strings.Join(more, ", "))
	}
}

// expectTheSameTurns looks at the state file that a balancer has left, and
// wants the next one to go on exactly there.
func (g *game) expectTheSameTurns(kind Kind) (check func(context.Context) error, err error) {
	saved, err := savedTurns(g.lab.StateFile())
	if err != nil {
		return nil, err
	}
	seen := g.witness.turnsBefore(0) // a stop saves the last turn
	if kind == Died {
		seen = g.witness.turnsBefore(saveLooks)
	}
	if saved < seen {
		g.Errorf("%s: %d turns are saved, there had been %d", kind, saved, seen)
	}
	return func(ctx context.Context) error {
		turns, missed, err := askTurns(ctx, g.lab.URL(), 0)
		for err != nil && ctx.Err() == nil { // it starts, and on a busy machine that takes a while
			turns, missed, err = askTurns(ctx, g.lab.URL(), 0)
		}
		if err != nil {
			return err
		}
		if missed != saved || len(turns) > 0 && turns[0].Number != saved+1 {
			g.Errorf("%s: %d turns were saved, the next balancer goes on after %d", kind, saved, missed)
		}
		return nil
	}, nil
}

// savedTurns reads a state file.
func savedTurns(file string) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var saved struct {
		Turns uint64 `json:"turns"`
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		return 0, fmt.Errorf("state file %q: %w", text, err)
	}
	return saved.Turns, nil
}

// judge says what came out, and what was wrong.
func (g *game) judge() {
	known, named, wrong := g.witness.judge()
	for _, text := range append(wrong, g.books.Problems()...) {
		g.Error(text)
	}
	g.Logf("%v; over %d lives of the balancer, %d turns were judged against the one before, %d against who answered",
		g.books, len(g.witness.lives), known, named)
	if known == 0 || named == 0 {
		g.Errorf("%d turns could be judged against the one before, %d against who answered: this test sees nothing", known, named)
	}
}

// exchange sends one datagram and waits for its answer, which is bound to come.
func exchange(conn *net.UDPConn, client *Client) (server string) {
	buf := make([]byte, 1<<16)
	_ = conn.SetReadDeadline(time.Now().Add(patience)) // fails on closed connections only
	if _, err := conn.Write(client.Next()); err != nil {
		return err.Error()
	}
	n, err := conn.Read(buf)
	if err != nil {
		return err.Error()
	}
	return client.Answer(buf[:n])
}
