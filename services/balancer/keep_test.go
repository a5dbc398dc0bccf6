package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/persist"
)

// keeper is a balancer that does nothing but keep its place, in a bubble with a
// clock of its own.
func keeper(t *testing.T, path string, said *bytes.Buffer) *balancer {
	t.Helper()
	names := []string{"server1", "server2", "server3"}
	store, _, err := persist.Open(path, names)
	if err != nil {
		t.Fatal(err)
	}
	return &balancer{state: store, rotation: balancing.New(len(names), balancing.Skip), log: slog.New(slog.NewTextHandler(said, nil))}
}

// kept is how many turns the file says there were, and whether its run ended.
func kept(t *testing.T, path string) (turns uint64, ended bool) {
	t.Helper()
	var file struct {
		Turns uint64
		Ended bool
	}
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Turns, file.Ended
}

func TestTheStateFileIsASecondBehindAtMost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		b := keeper(t, path, &said)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.keepState(ctx) }()

		dice := rand.New(rand.NewPCG(1, 2))
		const step = 10 * time.Millisecond
		var had []uint64 // turns there had been, a step apart
		for range 3000 {
			b.rotation.Take(make([]balancing.Turn, dice.IntN(5)))
			number, _ := b.rotation.Cursor()
			had = append(had, number)
			time.Sleep(step)
			synctest.Wait()
			saved, _ := kept(t, path)
			if aSecondAgo := len(had) - 1 - int(time.Second/step); saved > number || aSecondAgo >= 0 && saved < had[aSecondAgo] {
				t.Fatalf("after %v: %d turns in the file of %d; a second ago there had been %d", time.Duration(len(had))*step, saved, number, had[max(aSecondAgo, 0)])
			}
		}
		b.rotation.Take(make([]balancing.Turn, 7))
		cancel()
		<-done
		number, _ := b.rotation.Cursor()
		if saved, ended := kept(t, path); saved != number || !ended {
			t.Errorf("at the end %d turns are saved of %d, ended: %v", saved, number, ended)
		}
		if said.Len() > 0 {
			t.Errorf("it said %q", said.String())
		}
	})
}

func TestTroubleWithTheStateFileIsSaidOnceAndSoIsItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		b := keeper(t, path, &said)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.keepState(ctx) }()
		turns := func(seconds int) {
			for range seconds {
				b.rotation.Take(make([]balancing.Turn, 1))
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		turns(2)
		if err := os.WriteFile(path, []byte("my thesis"), 0o644); err != nil {
			t.Fatal(err)
		}
		turns(3)
		if got, err := os.ReadFile(path); err != nil || string(got) != "my thesis" {
			t.Errorf("the file holds %q, error %v", got, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		turns(2)
		cancel()
		<-done
		for text, times := range map[string]int{"has been changed by somebody else": 1, "is written again": 1, "level=": 2} {
			if n := strings.Count(said.String(), text); n != times {
				t.Errorf("%q is said %d times, want %d:\n%s", text, n, times, said.String())
			}
		}
	})
}
