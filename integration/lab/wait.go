package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Patience is how long anything may take that is bound to happen. It is long
// because only a failure waits for it, and a machine that runs tests is often
// busy with others.
const Patience = time.Minute

// pollInterval is how often Until looks again.
const pollInterval = 20 * time.Millisecond

// Until calls check again and again until it returns nil. When ctx ends, Until
// returns its error and the last one of check.
func Until(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
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
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		}
	}
}

// FreePort returns a port of 127.0.0.1 that is free now, for network "udp" or
// "tcp". A program that can listen on port 0 needs none.
func FreePort(network string) (string, error) {
	var addr net.Addr
	switch network {
	case "udp":
		socket, err := net.ListenPacket(network, anyPort)
		if err != nil {
			return "", err
		}
		defer socket.Close()
		addr = socket.LocalAddr()
	case "tcp":
		listener, err := net.Listen(network, anyPort)
		if err != nil {
			return "", err
		}
		defer listener.Close()
		addr = listener.Addr()
	default:
		return "", fmt.Errorf("network %q: want udp or tcp", network)
	}
	_, port, err := net.SplitHostPort(addr.String())
	return port, err
}
