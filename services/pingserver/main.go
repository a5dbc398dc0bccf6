// Pingserver answers every UDP datagram with its text in upper case, a space
// and its own name, so that whoever asks sees who answered. It can lose its
// answers on purpose, delay them and let them jitter.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/program"
	"udplab/services/kit/udp"
)

const usage = `
Answers every UDP datagram in upper case, with its own name behind it.

usage: pingserver [PORT]
       pingserver healthcheck [PORT]   exit 0 if the server there answers
`

func main() { program.Main("pingserver", run) }

func run(ctx context.Context) error {
	cfg, warnings, err := load(os.Args[1:], os.Environ(), os.Hostname)
	switch {
	case errors.Is(err, config.ErrHelp):
		config.Help(os.Stdout, usage, &settings{})
		return nil
	case err != nil:
		return err
	case cfg.selfCheck:
		return healthcheck(ctx, string(cfg.Listen), healthcheckTimeout)
	}

	out := logging.NewBufferedWriter(os.Stdout)
	defer out.Flush()
	log := cfg.Logger(out)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	socket, err := udp.Listen(ctx, string(cfg.Listen))
	if err != nil {
		return config.Problem{Name: "PINGSERVER_LISTEN", Value: string(cfg.Listen), Want: fmt.Sprintf("an address that is free here (%v)", err)}
	}
	return newServer(cfg, socket, log).run(ctx)
}
