package main

import (
	"context"
	"sync/atomic"
	"time"

	"udplab/integration/lab"
)

// How often the balancer's memory is looked at, and its turns.
const (
	sampleEvery = 100 * time.Millisecond
	lookEvery   = time.Second
)

// watch looks at the lab while it works.
type watch struct {
	lab     *lab.Stack
	total   uint64
	settled *atomic.Uint64
	out     *screen
	memory  memory
	order   order
}

// run watches until the context ends.
func (w *watch) run(ctx context.Context) {
	begin := time.Now()
	sampling, looking, showing := time.NewTicker(sampleEvery), time.NewTicker(lookEvery), time.NewTicker(w.out.every)
	defer sampling.Stop()
	defer looking.Stop()
	defer showing.Stop()
	defer w.out.clear()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sampling.C:
			// Without /proc there are no samples, and no verdict.
			if bytes, err := lab.Resident(w.lab.BalancerPID()); err == nil {
				w.memory = append(w.memory, sample{w.settled.Load(), bytes})
			}
		case <-looking.C:
			_ = w.order.look(ctx, w.lab.URL()) // the end may be faster; there is another look then
		case <-showing.C:
			last := sample{}
			if len(w.memory) > 0 {
				last = w.memory[len(w.memory)-1]
			}
			w.out.show(progress(w.settled.Load(), w.total, time.Since(begin), last.bytes))
		}
	}
}
