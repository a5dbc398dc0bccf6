package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/udp"
)

// healthcheckTimeout is how long a server has to answer its own probe.
const healthcheckTimeout = time.Second

// healthcheck sends the probe to the server that listens on address on this
// machine and returns nil if it answers.
func healthcheck(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	targets, err := loopback(ctx, address)
	if err != nil {
		return fmt.Errorf("healthcheck of %s: %w", address, err)
	}
	var problems []error
	for _, target := range targets {
		err := ask(ctx, target)
		if err == nil {
			return nil
		}
		problems = append(problems, fmt.Errorf("healthcheck of %v: %w", target, err))
	}
	return errors.Join(problems...)
}

// loopback is where this machine reaches a listener on address, IPv4 first: a
// UDP socket, unlike one of TCP, does not find the right one by itself.
func loopback(ctx context.Context, address string) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(config.Loopback(address))
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var targets []netip.AddrPort
	for _, ip := range ips {
		targets = append(targets, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
	}
	slices.SortFunc(targets, func(a, b netip.AddrPort) int { return a.Addr().Compare(b.Addr()) })
	return slices.Compact(targets), nil
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
	if ctx.Err() != nil {
		return fmt.Errorf("no answer within %v", healthcheckTimeout)
	}
	if err != nil {
		return err
	}
	if want := strings.ToUpper(probe) + " "; !bytes.HasPrefix(buf[:n], []byte(want)) {
		return fmt.Errorf("the answer %s is not a ping server's", logging.Quote(buf[:n], n))
	}
	return nil
}
