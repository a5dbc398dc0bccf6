package traffic

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func TestALoopWithItsOwnServersLosesNothing(t *testing.T) {
	loop, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	one, err1 := loop.AddEcho()
	two, err2 := loop.AddEcho()
	trips := uint64(0)
	loop.Trip = func(time.Duration) { trips++ }
	books := NewBooks(3, Settings{Count: math.MaxUint64, Window: 200, Timeout: time.Minute, Sizes: Sizes{Usual: 64}})
	if err := errors.Join(err1, err2, loop.Connect(books, one, two)); err != nil {
		t.Fatal(err)
	}
	if err := loop.Run(t.Context(), func(time.Duration) bool { return Sum(books).InTime > 10_000 }); err != nil {
		t.Fatal(err)
	}
	if c := Sum(books); c.Replies() != c.InTime || trips != c.InTime || c.Lost != 0 {
		t.Errorf("%+v, %d round trips", c, trips)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := loop.Run(ctx, func(time.Duration) bool { return false }); err != context.Canceled {
		t.Errorf("a run whose context has ended: %v", err)
	}
}
