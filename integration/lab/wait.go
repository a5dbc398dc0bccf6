package lab

import (
	"context"
	"errors"
	"time"
)

// Patience is how long anything may take that is bound to happen. It is long
// because only a failure waits for it, and a machine that runs tests is often
// busy with others.
const Patience = time.Minute

// Until calls check every 20 ms until it returns nil. When ctx ends, Until
// returns its error and the last one of check.
func Until(ctx context.Context, check func(context.Context) error) error {
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // not one that says only that ctx has ended
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		}
	}
}
