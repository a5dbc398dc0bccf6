package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"udplab/integration/lab"
	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

const usage = `
usage: bench [flags]

Measures round trips through the balancer and, in turn, through whatever else
there is to compare it with.
`

// settings is everything that can be set.
type settings struct {
	Rounds   int           `env:"--rounds" envDefault:"3" flag:"rounds" range:"1..1000" help:"how often every measurement is made; the medians count"`
	Duration time.Duration `env:"--duration" envDefault:"3s" flag:"duration" range:"10ms..1m" help:"how long each measurement takes, after a warm-up of half of that"`
	Only     []string      `env:"--only" default:"all" flag:"only" help:"these contestants, by the beginning of a word of their names: direct,udplab,nginx"`
	Also     []string      `env:"--also" default:"none" flag:"also" help:"other builds of the balancer as further contestants: NAME=PATH,…"`
	Quick    bool          `env:"--quick" flag:"quick" help:"one short round: proves that it works, not how fast"`
}

// load reads the flags.
func load(args []string) (*settings, error) {
	var cfg settings
	_, err := config.Load(&cfg, config.Source{Args: args})
	if cfg.Quick {
		cfg.Rounds, cfg.Duration = 1, 100*time.Millisecond
	}
	return &cfg, err
}

// Check refuses what does not go together.
func (c *settings) Check(wrong func(variable, want string)) {
	var names []string
	for _, known := range contestants {
		names = append(names, known.name)
	}
	for _, word := range c.Only {
		if !slices.ContainsFunc(names, func(name string) bool { return chooses(word, name) }) {
			wrong("--only", "the beginnings of some of: "+strings.Join(names, ", "))
			break
		}
	}
	for _, also := range c.Also {
		name, path, _ := strings.Cut(also, "=")
		if name == "" || path == "" || strings.Contains(name, " ") || slices.Contains(names, name) {
			wrong("--also", "NAME=PATH of a balancer that is built already, under a name that no other contestant has")
			break
		}
		names = append(names, name)
	}
}

// chooses says whether a word of --only stands for a contestant.
func chooses(word, name string) bool { return strings.Contains(" "+name, " "+word) }

// contestants are those that --only lets take part, and other builds beside ours.
func (c *settings) contestants() (list []contestant) {
	for _, known := range contestants {
		if len(c.Only) == 0 || slices.ContainsFunc(c.Only, func(word string) bool { return chooses(word, known.name) }) {
			list = append(list, known)
		}
	}
	for _, also := range c.Also {
		name, path, _ := strings.Cut(also, "=")
		list = append(list, contestant{name: name, ours: true, sockets: 1, command: balancer("epoll", path)})
	}
	return list
}

// loadCase is so many clients, each with so many datagrams in flight.
type loadCase struct{ clients, outstanding int }

// String is "500 × 1".
func (c loadCase) String() string { return fmt.Sprintf("%d × %d", c.clients, c.outstanding) }

// cases is what is measured: with --quick, what needs the longest window and
// the most sessions.
func (c *settings) cases() []loadCase {
	if c.Quick {
		return []loadCase{{1, 64}, {10_000, 1}}
	}
	return []loadCase{{1, 64}, {500, 1}, {10_000, 1}, {1, 1}}
}

func run(ctx context.Context) error {
	cfg, err := load(os.Args[1:])
	if errors.Is(err, config.ErrHelp) {
		config.Help(os.Stdout, usage, cfg)
		return nil
	}
	if err != nil {
		return err
	}
	core, dir, ok := strings.Cut(os.Getenv(prepared), " ")
	if !ok {
		return program.CannotStart(prepare(ctx, os.Stdout))
	}
	// The load's goroutine never makes room for others: they need a second
	// place to run in, though all share one core.
	runtime.GOMAXPROCS(2)
	return measureAll(ctx, cfg, core, dir, os.Stdout, os.Stderr)
}

// prepared is the variable that tells a process that everything is ready: the
// contestants' core, and the directory with the programs.
const prepared = "UDPLAB_BENCH_PREPARED"

// prepare builds the programs, where there may be modules to download, and runs
// this one again. It returns only if that fails.
func prepare(ctx context.Context, stdout io.Writer) error {
	dir, err := os.MkdirTemp("", "udplab-bench")
	if err != nil {
		return err
	}
	if _, err = lab.Build(ctx, dir); err == nil {
		err = runApart(stdout, dir)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// measureAll makes every measurement and prints what came out. It ends early,
// with what there is, when ctx does.
func measureAll(ctx context.Context, cfg *settings, core, dir string, stdout, stderr io.Writer) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{duration: cfg.Duration, dir: dir}
	var err1, err2 error
	b.core, err1 = strconv.Atoi(core)
	b.limits, err2 = systemLimits()
	if err := errors.Join(err1, err2); err != nil {
		return program.CannotStart(err)
	}
	r := report{stdout: stdout, stderr: stderr, rounds: map[key][]figures{}}
	fmt.Fprint(stdout, units)
	list := slices.DeleteFunc(cfg.contestants(), func(c contestant) bool {
		_, err := c.command(&job{bench: b})
		if err != nil {
			fmt.Fprintf(stdout, "left out: %s: %v\n", c.name, err)
		}
		return err != nil
	})
	for round := range cfg.Rounds {
		for _, lc := range cfg.cases() {
			for _, c := range list {
				if why := b.limits.refuse(c, lc); why != "" {
					if round == 0 {
						fmt.Fprintf(stdout, "left out: %v, %s: %s\n", lc, c.name, why)
					}
					continue
				}
				fmt.Fprintf(stderr, "round %d of %d: %v, %s\n", round+1, cfg.Rounds, lc, c.name)
				f, err := b.measure(ctx, c, lc)
				if ctx.Err() != nil {
					return errors.Join(r.table(), program.Exit(1))
				}
				r.add(c, lc, f, err)
			}
		}
	}
	err = r.table()
	if r.failed { // which has been said
		err = errors.Join(err, program.Exit(1))
	}
	return err
}
