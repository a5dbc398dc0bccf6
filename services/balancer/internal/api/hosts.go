package api

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"udplab/services/kit/config"
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
		case err == nil && addr.Is6() && addr.Zone() == "":
			entry = "[" + addr.String() + "]"
		case entry == "" || strings.ContainsFunc(entry, neverInAName):
			return config.Problem{Value: entry, Want: "names without ports, such as localhost,127.0.0.1,[::1]"}
		}
		hosts = append(hosts, entry)
	}
	*h = hosts
	return nil
}

// neverInAName is what a host's name does not have in a request: a browser
// writes other letters in ASCII, as xn--….
func neverInAName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// Allow says whether a request with this Host header may come in, whatever its
// port.
func (h Hosts) Allow(header string) bool {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host, _, err = net.SplitHostPort(header + ":80") // it names no port
	}
	addr, notAddr := netip.ParseAddr(host)
	six := notAddr == nil && addr.Is6()
	if err != nil || six != strings.HasPrefix(header, "[") {
		return false
	}
	if six {
		host = "[" + addr.String() + "]"
	}
	return slices.Contains(h, strings.ToLower(host))
}
