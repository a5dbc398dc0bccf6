package web

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"udplab/services/kit/app"
)

// Hosts are the names that a request may come under: names and IP addresses
// without ports, in lower case, an IPv6 address in brackets.
type Hosts []string

// UnmarshalText reads a list such as "localhost,127.0.0.1,[::1]". It refuses
// an entry that no request could name.
func (h *Hosts) UnmarshalText(text []byte) error {
	var hosts Hosts
	for entry := range strings.SplitSeq(string(text), ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		addr, err := netip.ParseAddr(strings.Trim(entry, "[]"))
		switch {
		case err == nil && addr.Is6():
			entry = "[" + addr.String() + "]"
		case entry == "" || strings.ContainsAny(entry, ":/[]* \t"):
			return app.Problem{Value: entry, Want: "names without ports, such as localhost,127.0.0.1,[::1]"}
		}
		hosts = append(hosts, entry)
	}
	*h = hosts
	return nil
}

// Allow says whether a request with this Host header may come in, whatever its
// port.
func (h Hosts) Allow(header string) bool {
	host := header
	if name, _, err := net.SplitHostPort(header); err == nil {
		host = name
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && addr.Is6() {
		host = "[" + addr.String() + "]"
	}
	return host != "" && slices.Contains(h, strings.ToLower(host))
}
