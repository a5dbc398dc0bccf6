package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/udp"
)

// healthcheckTimeout is how long a server has to answer its own probe.
const healthcheckTimeout = time.Second

// healthcheck returns nil if the server that listens on address on this machine
// answers its probe in time. It asks each address that the host's name has, IPv4
// first, until one answers: a UDP socket, unlike one of TCP, does not find the
// right one by itself.
func healthcheck(ctx context.Context, address string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	targets, err := udp.Resolve(ctx, config.Loopback(address))
	if err != nil {
		return fmt.Errorf("healthcheck of %s: %w", address, err)
	}
	var problems []error
	for _, target := range targets {
		err := ask(ctx, target)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		problems = append(problems, fmt.Errorf("healthcheck of %v: %w", target, err))
	}
	return errors.Join(problems...)
}

// ask sends one probe and waits for its answer until the context ends. The
// socket is connected, so that a port without a listener refuses at once.
func ask(ctx context.Context, target netip.AddrPort) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if _, err := conn.Write([]byte(probe)); err != nil {
		return err
	}
	buf := make([]byte, udp.MaxPayload)
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	if want := strings.ToUpper(probe) + " "; !bytes.HasPrefix(buf[:n], []byte(want)) {
		return fmt.Errorf("the answer %s is not a ping server's", logging.Quote(buf[:n], n))
	}
	return nil
}
