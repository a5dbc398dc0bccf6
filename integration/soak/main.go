// Soak sends a great many datagrams through the whole lab and then balances the
// books, to the datagram:
//
//	go run ./integration/soak --datagrams 100000000
//
// It starts three ping servers and the balancer as processes of this machine.
// Clients, each with a window of datagrams in flight, send until all have been
// sent, and check every reply byte for byte. Meanwhile the progress is printed,
// the balancer's memory sampled and its turns looked at. In the end there is the
// balance sheet: what one program says it handed on, and what the next says it
// got, with what the kernel dropped in between. Every line has to add up, no turn
// may be out of place, and the balancer's memory has to be flat once it is warm.
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
	"math/rand/v2"
	"os"
	"slices"
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
	Clients   int    `env:"--clients" envDefault:"8" flag:"clients" range:"1..900" help:"clients at once"`
	Window    int    `env:"--window" envDefault:"32" flag:"window" range:"1..900" help:"datagrams that each client has in flight"`
	Seed      uint64 `env:"--seed" envDefault:"0" default:"random" flag:"seed" help:"the same seed, the same sizes of datagrams"`
}

// mostInFlight is how many datagrams may be in flight at a time. Loopback
// queues 1,000 for each processor (net.core.netdev_max_backlog); what it drops
// beyond that belongs to no socket, and no book could tell where it went.
const mostInFlight = 900

// Check refuses what does not go together.
func (c *settings) Check(wrong func(variable, want string)) {
	if c.Clients*c.Window > mostInFlight {
		wrong("--window", fmt.Sprintf("at most %d datagrams in flight, so at most %d with --clients %d", mostInFlight, mostInFlight/c.Clients, c.Clients))
	}
}

// timeout is after how long a datagram counts as lost. It is long, so that a
// busy machine loses nothing.
const timeout = 10 * time.Second

// books are those of all clients.
func (c *settings) books() []*traffic.Book {
	return traffic.NewBooks(c.Clients, traffic.Settings{
		Count: c.Datagrams, Window: c.Window, Timeout: timeout,
		Sizes: traffic.Sizes{Usual: traffic.PingSize, Most: 1400, Seed: c.Seed},
		Server: func(name []byte) bool {
			return slices.Contains([]string{"server1", "server2", "server3"}, string(name))
		},
	})
}

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
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1e9) + 1
	}
	fmt.Fprintf(stdout, "%s datagrams by %d clients, each with %d in flight, seed %d\n", thousands(cfg.Datagrams), cfg.Clients, cfg.Window, cfg.Seed)
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
	return soak(ctx, cfg, stack, stdout, stderr)
}

// balancer is the balancer's variables. No session ends for being idle, so that
// what the kernel dropped at its socket can be read at the end.
var balancer = lab.Env{"BALANCER_SESSION_IDLE": "24h"}

// soak sends everything, ends the stack and prints what came out.
func soak(ctx context.Context, cfg settings, stack *lab.Stack, stdout, stderr io.Writer) (err error) {
	defer func() { err = errors.Join(err, stack.Close()) }()
	books := cfg.books()
	begin := time.Now()
	w := watch{stack: stack, total: cfg.Datagrams, books: books, progress: newScreen(stderr)}
	stop := w.start(context.WithoutCancel(ctx))
	clientDrops, err := traffic.Carry(ctx, books, stack.Addr())
	took := time.Since(begin)
	stop()
	if err != nil {
		return err
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), lab.Patience)
	defer cancel()
	if err := w.look(finish); err != nil {
		return err
	}
	f := figures{Clients: traffic.Sum(books), ClientDrops: clientDrops, Looked: w.looked, OutOfPlace: w.outOfPlace}
	if err := f.collect(finish, stack); err != nil {
		return err
	}
	return verdict(stdout, cfg, f, w.memory, took)
}

// verdict prints the sheet, and its error says whether all is well.
func verdict(w io.Writer, cfg settings, f figures, memory memory, took time.Duration) error {
	rate := float64(f.Clients.InTime+f.Clients.Lost) / took.Seconds()
	fmt.Fprintf(w, "sent %s of %s in %v: %s datagrams a second, there and back\n",
		thousands(f.Clients.Sent), thousands(cfg.Datagrams), took.Round(10*time.Millisecond), thousands(uint64(rate)))
	good := f.Clients.Sent == cfg.Datagrams
	for _, l := range f.sheet() {
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
