package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ParseDuration reads a duration as Go writes it (200ms, 1m30s) or as a plain
// number of seconds (0.2), as ping does. It may not be negative.
func ParseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is negative", s)
	}
	return d, err
}

// Port checks a port number in text, 1 to 65535.
func Port(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return Problem{"port", s, "a port from 1 to 65535"}
	}
	return nil
}

// Address is host:port with a name or a number as host. The host may be empty
// (every address of this machine), the port 0 (any free one).
type Address string

// UnmarshalText refuses what is not host:port.
func (a *Address) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	awkward := func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }
	if err != nil || port != "0" && Port(port) != nil || strings.ContainsFunc(host, awkward) {
		return Problem{Value: string(text), Want: "[host]:port with a port from 0 to 65535"}
	}
	*a = Address(text)
	return nil
}

// Loopback is the address at which a program on this machine reaches a
// listener on address: a wildcard or missing host becomes localhost.
func Loopback(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
