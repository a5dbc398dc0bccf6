// Soak sends a great many datagrams through the whole lab and then balances the
// books, to the datagram:
//
//	go run ./integration/soak --datagrams 100000000
//
// It starts three ping servers and the balancer as processes of this machine.
// Several clients, each with a window of datagrams under way, send until all
// have been sent, and check every answer byte for byte. Meanwhile it prints how
// far it is and how long the rest will take, samples the balancer's memory and
// looks at the balancer's turns. At the end stands the balance sheet: what one
// program says it handed on, and what the next says it got, with what the
// kernel dropped in between. Every line of it has to add up, no turn may be out
// of place, and the balancer's memory has to be flat once it is warm.
//
// The numbers of datagrams that the kernel dropped are read from /proc, and so
// is the balancer's memory. Elsewhere than on Linux the first count as 0, so
// that a drop is a line that does not add up, and memory is not judged.
//
// It exits 0; with 1 if a line does not add up, or it was told to end early;
// with 2 if it cannot start.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"udplab/integration/lab"
	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

func main() {
	program.Main("soak", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout, os.Stderr) })
}

// run is the soak from its flags to its verdict. The sheet goes to stdout, the
// progress to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := load(args)
	if errors.Is(err, config.ErrHelp) {
		config.Help(stdout, usage, cfg)
		return nil
	}
	if err != nil {
		return err
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1e9) + 1
	}
	dir, err := os.MkdirTemp("", "udplab-soak-")
	if err != nil {
		return program.CannotStart(err)
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(stdout, "%s datagrams by %d clients, each with %d under way, seed %d\n",
		thousands(cfg.Datagrams), cfg.Clients, cfg.Window, cfg.Seed)
	programs, err := lab.Build(ctx, dir)
	if err == nil {
		var lab *lab.Stack
		if lab, err = start(ctx, programs); err == nil {
			return soak(ctx, cfg, lab, stdout, stderr)
		}
	}
	if ctx.Err() != nil {
		return program.Exit(1) // told to end before it began
	}
	return program.CannotStart(err)
}

// start starts the lab. No session of it ends for being idle, so that what the
// kernel dropped at its sockets can be read at the end.
func start(ctx context.Context, programs lab.Programs) (*lab.Stack, error) {
	return lab.Start(ctx, lab.Config{Programs: programs, Balancer: lab.Env{"BALANCER_SESSION_IDLE": "24h"}})
}

// soak sends everything, ends the lab and prints what came out.
func soak(ctx context.Context, cfg *settings, lab *lab.Stack, stdout, stderr io.Writer) (err error) {
	defer func() { err = errors.Join(err, lab.Close()) }()
	books, settled := newBooks(cfg)
	begin := time.Now()
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	watch := watch{lab: lab, total: cfg.Datagrams, settled: settled, out: newScreen(stderr)}
	watched := make(chan struct{})
	go func() { defer close(watched); watch.run(watching) }()

	clientDrops, err := carry(ctx, books, lab.Addr().String())
	took := time.Since(begin)
	stop()
	<-watched
	if err != nil {
		return err
	}
	finish := context.WithoutCancel(ctx)
	if err := watch.order.look(finish, lab.URL()); err != nil {
		return err
	}
	figures, err := collect(finish, lab, sum(books), clientDrops)
	if err != nil {
		return err
	}
	figures.Looked, figures.OutOfPlace = watch.order.looked, watch.order.outOfPlace
	return verdict(stdout, cfg, figures, watch.memory, took)
}

// verdict prints the sheet and says whether all is well.
func verdict(w io.Writer, cfg *settings, f figures, memory memory, took time.Duration) error {
	settled := f.Clients.InTime + f.Clients.Lost
	fmt.Fprintf(w, "sent %s of %s in %v: %s datagrams a second, there and back\n",
		thousands(f.Clients.Sent), thousands(cfg.Datagrams), took.Round(10*time.Millisecond), thousands(uint64(float64(settled)/took.Seconds())))
	good := f.Clients.Sent == cfg.Datagrams
	for _, l := range sheet(f) {
		fmt.Fprintln(w, l)
		good = good && l.holds()
	}
	text, flat := memory.verdict(cfg.Datagrams)
	fmt.Fprintln(w, text)
	if !good || !flat {
		return program.Exit(1)
	}
	return nil
}
