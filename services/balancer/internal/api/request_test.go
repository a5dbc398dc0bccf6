package api

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// What a list of hosts allows is what is on it, with any port and in any case.
func FuzzHosts(f *testing.F) {
	for _, seed := range []string{"localhost,127.0.0.1,[::1],balancer", "Lab, ::1", "a:1", "[fe80::1%eth0]", "[]", "*", ",", "[::ffff:127.0.0.1]", "%", "größe", "a\x00b", "İ", "[::1", "::1]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		var hosts Hosts
		if err := hosts.UnmarshalText([]byte(list)); err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("%q", err)
			}
			return
		}
		if len(hosts) == 0 {
			t.Fatal("nobody is allowed")
		}
		for _, host := range hosts {
			for _, header := range []string{host, host + ":8080", strings.ToUpper(host)} {
				if !hosts.Allow(header) && isASCII(header) {
					t.Errorf("%q is on the list %q, %q is not allowed", host, hosts, header)
				}
			}
			for _, header := range []string{host + ".evil.example", "evil." + host, host + "@evil.example", host + "/x", " " + host} {
				if hosts.Allow(header) && !slices.Contains(hosts, header) {
					t.Errorf("%q is allowed by the list %q", header, hosts)
				}
			}
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// allowedHost is who may be named in the Host header of a request to
// newBalancer, but for the many ways to write ::1.
var allowedHost = regexp.MustCompile(`^(?i:(localhost|127\.0\.0\.1|balancer)|\[[0:.%a-z]*1\])(:[^:]*)?$`)

// Whatever is asked, it is answered, only to those who may look, and with
// headers and a policy that nothing in the request can change.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /api/ledger?after=1 HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
		"GET /events?after=99 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1\r\n\r\n",
		"GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: x\r\n\r\n",
		"HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n",
		"POST /api/status HTTP/1.1\r\nHost: balancer\r\nContent-Length: 1\r\n\r\nx",
		"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET //evil.example/%2e%2e HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	b := newBalancer("server1", "server2")
	f.Fuzz(func(t *testing.T, raw []byte) {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(raw))))
		if err != nil {
			return // the server answers it by itself
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // or /events would have no end
		answer := httptest.NewRecorder()
		handler(b.Config, b.feed).ServeHTTP(answer, request.WithContext(ctx))
		body := answer.Body.String()
		switch mayLook := allowedHost.MatchString(request.Host); {
		case answer.Code == http.StatusForbidden && strings.Contains(body, "server1"):
			t.Errorf("who may not look is told %q", body)
		case !mayLook && answer.Code != http.StatusForbidden:
			t.Errorf("host %q: %d", request.Host, answer.Code)
		case mayLook && request.Method != "GET" && request.Method != "HEAD" && answer.Code != http.StatusMethodNotAllowed && answer.Code != http.StatusForbidden:
			t.Errorf("%s: %d", request.Method, answer.Code)
		case answer.Code >= 500:
			t.Errorf("%d %q", answer.Code, body)
		case answer.Code == http.StatusBadRequest && strings.Count(body, "\n") > 1: // for a path of * there is none
			t.Errorf("more than one line: %q", body)
		}
		if got := answer.Header().Get("Content-Security-Policy"); got != policy {
			t.Errorf("the policy is %q", got)
		}
		for name, values := range answer.Header() {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
				t.Errorf("header %q: %q", name, values)
			}
		}
	})
}
