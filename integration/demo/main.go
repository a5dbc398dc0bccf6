// Demo is the whole lab with nothing but Go: three ping servers, the balancer
// in front of them, and a client that sends ten pings as often as you like.
//
//	go run ./integration/demo
//
// It takes the ports that the assignment names where they are free, and others
// where they are not. Everything it started is gone when it ends, also by
// Ctrl-C. It exits 0, and with 2 if the lab cannot start.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"udplab/integration/lab"
	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/program"
)

func main() {
	program.Main("demo", func(ctx context.Context) error { return run(ctx, os.Stdin, os.Stdout, os.Stderr) })
}

// run is the demonstration from its build to its end. The files are those that
// the client inherits, so that it finds a terminal where there is one.
func run(ctx context.Context, stdin io.Reader, stdout, stderr *os.File) (err error) {
	if len(os.Args) > 1 {
		return program.CannotStart(config.Problem{Name: "argument", Value: os.Args[1], Want: "no argument"})
	}
	dir, err := os.MkdirTemp("", "udplab-demo-")
	if err != nil {
		return program.CannotStart(err)
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(stdout, "building the three programs …")
	stack, err := open(ctx, dir)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, stack.Close()) }()
	case ctx.Err() != nil:
		return nil // told to end before it began
	default:
		return program.CannotStart(err)
	}

	for i, addr := range stack.Servers() {
		fmt.Fprintf(stdout, "server%d listens on %s\n", i+1, unusual(addr, usualServers[i]))
	}
	fmt.Fprintf(stdout, "balancer listens on %s\n", unusual(stack.Addr().String(), usualBalancer))
	page := unusual(strings.TrimPrefix(stack.URL(), "http://"), usualPage)
	fmt.Fprintf(stdout, "page at http://%s\n\n", page)
	return ask(ctx, stdin, stdout, func() error { return ping(ctx, stack, stdout, stderr) })
}

// Where the assignment has everything.
var usualServers = []string{"127.0.0.1:2526", "127.0.0.1:2527", "127.0.0.1:2528"}

const (
	usualBalancer = "127.0.0.1:8888"
	usualPage     = "127.0.0.1:8080"
)

// open builds the programs into dir and starts the lab.
func open(ctx context.Context, dir string) (stack *lab.Stack, err error) {
	programs, err := lab.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	for range 2 { // a port may be taken after free has looked
		cfg := lab.Config{Programs: programs, Balancer: lab.Env{
			"BALANCER_LISTEN": free("udp", usualBalancer),
			"BALANCER_HTTP":   free("tcp", usualPage),
		}}
		for _, usual := range usualServers {
			cfg.Servers = append(cfg.Servers, free("udp", usual))
		}
		if stack, err = lab.Start(ctx, cfg); err == nil || ctx.Err() != nil {
			break
		}
	}
	return stack, err
}

// free is the usual address if nobody has it, else any free port.
func free(network, usual string) string {
	if lab.Free(network, usual) {
		return usual
	}
	return "127.0.0.1:0"
}

// unusual is an address, with a remark if it is not the usual one.
func unusual(addr, usual string) string {
	if addr == usual {
		return addr
	}
	return addr + " (" + usual + " is taken)"
}

// ask makes a run, and one more for every line of input, until the input ends,
// a line says q, or the context ends.
func ask(ctx context.Context, stdin io.Reader, stdout io.Writer, run func() error) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for input := bufio.NewScanner(stdin); input.Scan(); {
			select {
			case lines <- input.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		if err := run(); err != nil || ctx.Err() != nil {
			return err
		}
		fmt.Fprint(stdout, "\nEnter for ten more pings, q to quit: ")
		var line string
		more := false
		select {
		case line, more = <-lines:
		case <-ctx.Done():
		}
		if !more || !logging.IsTerminal(stdin) {
			fmt.Fprintln(stdout) // nobody has pressed Enter there
		}
		if !more || strings.EqualFold(strings.TrimSpace(line), "q") {
			return nil
		}
	}
}

// ping runs a client to its end. That it got no answers it says itself.
func ping(ctx context.Context, stack *lab.Stack, stdout, stderr *os.File) error {
	client := stack.ClientCommand(ctx, "ping")
	client.Stdout, client.Stderr = stdout, stderr
	var code *exec.ExitError
	if err := client.Run(); err != nil && !errors.As(err, &code) && ctx.Err() == nil {
		return err
	}
	return nil
}
