// Soak sends a great many datagrams through the whole lab and then balances the
// books, to the datagram:
//
//	go run ./integration/soak --datagrams 100000000
//
// It starts three ping servers and the balancer as processes of this machine.
// Clients send until all has been sent, and check every reply byte for byte.
// Meanwhile the balancer's memory is sampled and its turns are looked at. In the
// end there is the balance sheet: what one program says it handed on, and what
// the next says it got, with what the kernel dropped in between. Every line has
// to add up, no turn may be out of place, and the balancer's memory has to be
// flat once it is warm.
//
// What the kernel dropped, and memory, are read from /proc. Elsewhere than on
// Linux a drop is a line that does not add up, and memory is not judged.
//
// It exits 0; with 1 if a line does not add up, or it was told to end early;
// with 2 if it cannot start.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"udplab/integration/lab"
	"udplab/integration/traffic"
	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

const usage = `
usage: soak [flags]

Sends a great many datagrams through the whole lab and balances the books.
`

// settings is everything that can be set.
type settings struct {
	Datagrams uint64 `env:"--datagrams" envDefault:"1000000" flag:"datagrams" range:"1..1000000000000" help:"how many to send, by all clients together"`
}

// Clients have at most 256 datagrams in flight. Loopback queues 1,000 for each
// processor (net.core.netdev_max_backlog); what it drops beyond that belongs to
// no socket, and no book could tell where it went.
const (
	clients = 8
	window  = 32
	// timeout is after how long a datagram counts as lost. It is long, so that a
	// busy machine loses nothing.
	timeout = 10 * time.Second
)

// servers are those of a lab, in turn order.
var servers = []string{"server1", "server2", "server3"}

// balancer is the balancer's variables. No session ends for being idle, so that
// what the kernel dropped at its socket can be read at the end.
var balancer = lab.Env{"BALANCER_SESSION_IDLE": "24h"}

func main() {
	program.Main("soak", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout, os.Stderr) })
}

// run is the soak from its flags to its verdict. The sheet goes to stdout, the
// progress to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var cfg settings
	_, err := config.Load(&cfg, config.Source{Args: args})
	if errors.Is(err, config.ErrHelp) {
		config.Help(stdout, usage, &cfg)
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "udplab-soak-")
	if err != nil {
		return program.CannotStart(err)
	}
	defer os.RemoveAll(dir)
	var stack *lab.Stack
	programs, err := lab.Build(ctx, dir)
	if err == nil {
		stack, err = lab.Start(ctx, lab.Config{Programs: programs, Balancer: balancer})
	}
	if ctx.Err() != nil {
		return program.Exit(1) // told to end before it began
	}
	if err != nil {
		return program.CannotStart(err)
	}
	return soak(ctx, cfg.Datagrams, stack, stdout, stderr)
}

// soak sends so many datagrams, ends the stack and prints what came out.
func soak(ctx context.Context, total uint64, stack *lab.Stack, stdout, stderr io.Writer) (err error) {
	defer func() { err = errors.Join(err, stack.Close()) }()
	books := traffic.NewBooks(clients, traffic.Settings{
		Count: total, Window: window, Timeout: timeout,
		Sizes:  traffic.Sizes{Usual: traffic.PingSize, Most: 1400, Seed: 1},
		Server: func(name []byte) bool { return slices.Contains(servers, string(name)) },
	})
	w := watch{stack: stack, books: books, progress: stderr, memory: memory{total: total}}
	watched, stop := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() { w.run(watched) })
	begin := time.Now()
	clientDrops, err := traffic.Carry(ctx, books, stack.Addr())
	took := time.Since(begin)
	stop()
	watching.Wait()
	if err != nil {
		return err
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), lab.Patience)
	defer cancel()
	if err := w.look(finish); err != nil {
		return err
	}
	counts := traffic.Sum(books)
	f, err := collect(finish, stack, counts)
	if err != nil {
		return err
	}
	f["dropped before the clients"], f["turns out of place"] = clientDrops, w.outOfPlace

	rate := float64(counts.InTime+counts.Lost) / took.Seconds()
	fmt.Fprintf(stdout, "sent %s of %s in %v: %s datagrams a second, there and back\n",
		thousands(counts.Sent), thousands(total), took.Round(10*time.Millisecond), thousands(uint64(rate)))
	fmt.Fprintf(stdout, "looked at %s turns\n", thousands(w.looked))
	good := f.sheet(stdout)
	text, flat := w.memory.verdict()
	fmt.Fprintln(stdout, text)
	if counts.Sent < total || !good || !flat {
		return program.Exit(1)
	}
	return nil
}
