package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
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
		entry = strings.TrimSpace(entry)
		host := canonical(entry)
		if host == "" || host[0] != '[' && strings.ContainsFunc(host, notInHostName) {
			return config.Problem{Value: entry, Want: "names without ports, such as localhost,127.0.0.1,[::1]"}
		}
		hosts = append(hosts, host)
	}
	*h = hosts
	return nil
}

// canonical is a host as Hosts has it.
func canonical(host string) string {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() && addr.Zone() == "" {
		return "[" + addr.String() + "]"
	}
	return host
}

// notInHostName says whether a request never has this in a host's name: a browser
// writes other letters in ASCII, as xn--….
func notInHostName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// Allow says whether a request with this Host header may come in, whatever its
// port.
func (h Hosts) Allow(header string) bool {
	return slices.Contains(h, canonical((&url.URL{Host: header}).Hostname()))
}

// policy is what a browser may do with the page: load what the balancer itself
// serves, and run no script that is not a file of it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guardReading lets only GET and HEAD for an allowed host through, and tells
// browsers to load nothing from anywhere else.
func guardReading(cfg Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		switch {
		case !cfg.Hosts.Allow(r.Host):
			http.Error(w, fmt.Sprintf("host %q is not one of %s (%s)", r.Host, cfg.HostsFrom, strings.Join(cfg.Hosts, ",")), http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD: nothing here can be changed", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
