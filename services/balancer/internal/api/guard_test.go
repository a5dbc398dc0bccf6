package api

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"udplab/services/kit/config"
)

func TestPathsAndMethods(t *testing.T) {
	tests := []struct {
		method, path string
		code         int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/style.css", 200}, {"HEAD", "/healthz", 200}, {"HEAD", "/api/status", 200},
		{"GET", "/main.js", 200}, {"GET", "/icon.svg", 200}, {"GET", "/api/ledger", 200}, {"GET", "/metrics", 200},
		{"HEAD", "/api/ledger", 200}, {"HEAD", "/metrics", 200}, {"HEAD", "/events", 200},
		{"GET", "/page.html", 404}, {"GET", "/page/main.js", 404}, {"GET", "/events/", 404},
		{"POST", "/events", 405}, {"POST", "/metrics", 405}, {"DELETE", "/api/ledger", 405},
		{"GET", "/nothing", 404}, {"GET", "/api/", 404}, {"GET", "/healthz/", 404}, {"GET", "/../page.html", 404}, {"HEAD", "/favicon.ico", 404},
		{"POST", "/", 405}, {"PUT", "/api/status", 405}, {"DELETE", "/nothing", 405}, {"OPTIONS", "/healthz", 405}, {"TRACE", "/", 405},
	}
	b := newBalancer("server1", "server2")
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			answer := b.ask(test.method, "localhost", test.path)
			code := answer.Code
			for code/100 == 3 { // a path with .. is cleaned first
				answer = b.ask(test.method, "localhost", answer.Header().Get("Location"))
				code = answer.Code
			}
			if code != test.code {
				t.Errorf("%d, want %d", code, test.code)
			}
			if allow := answer.Header().Get("Allow"); (allow == "GET, HEAD") != (test.code == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
}

func TestOnlyAllowedHostsAreAnswered(t *testing.T) {
	tests := []struct {
		host    string
		allowed bool
	}{
		{"localhost", true}, {"localhost:8080", true}, {"LocalHost:8080", true}, {"balancer:8080", true},
		{"127.0.0.1", true}, {"127.0.0.1:8080", true},
		{"[::1]", true}, {"[::1]:8080", true}, {"[0:0::1]:8080", true},
		{"", false}, {":8080", false}, {"evil.example", false}, {"evil.example:8080", false}, {"EVIL.EXAMPLE", false},
		{"localhost.evil.example", false}, {"evil.example:localhost", false}, {"localhost@evil.example", false},
		{"127.0.0.2:8080", false}, {"[::2]:8080", false}, {"[::ffff:127.0.0.1]", false},
		{"::1", false}, {"[::1", false}, {"::1]", false}, {"[[::1]]", false}, {"[localhost]", false}, {"[]", false},
	}
	b := newBalancer("server1")
	for _, test := range tests {
		for _, path := range []string{"/", "/api/status", "/healthz", "/nothing"} {
			answer := b.ask("GET", test.host, path)
			if (answer.Code != http.StatusForbidden) != test.allowed {
				t.Errorf("Host: %s at %s: %d", test.host, path, answer.Code)
			}
			if !test.allowed && strings.Contains(answer.Body.String(), "server1") {
				t.Errorf("Host: %s at %s: the answer tells something", test.host, path)
			}
		}
	}
	if text := b.ask("POST", "evil.example", "/").Body.String(); !strings.Contains(text, `"evil.example"`) || !strings.Contains(text, "BALANCER_HTTP_HOSTS") {
		t.Errorf("the answer names neither the host nor the cure: %s", text)
	}
}

func TestHostsAreNamesWithoutPorts(t *testing.T) {
	good := map[string]Hosts{
		"localhost":                        {"localhost"},
		"localhost,127.0.0.1,[::1]":        {"localhost", "127.0.0.1", "[::1]"},
		" Lab.Example , ::1 ,[0:0:0:0::1]": {"lab.example", "[::1]", "[::1]"},
	}
	for text, want := range good {
		var got Hosts
		if err := got.UnmarshalText([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, value := range map[string]string{
		"":                     "",
		"localhost,":           "",
		"localhost:8080":       "localhost:8080",
		"a,http://b,c":         "http://b",
		"*":                    "*",
		"a b":                  "a b",
		"localhost,[::1]:8080": "[::1]:8080",
		"lab,größe":            "größe",
		"[fe80::1%eth0]":       "[fe80::1%eth0]",
	} {
		got := Hosts{"before"}
		err := got.UnmarshalText([]byte(text))
		var problem config.Problem
		if !errors.As(err, &problem) || problem.Value != value || problem.Want == "" {
			t.Errorf("%q: %v", text, err)
		}
		if !slices.Equal(got, Hosts{"before"}) {
			t.Errorf("%q: changed to %v", text, got)
		}
	}
}

func TestEveryAnswerTellsTheBrowserToBeStrict(t *testing.T) {
	b := newBalancer("server1")
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
	} {
		for _, path := range []string{"/", "/style.css", "/main.js", "/api/status", "/page.json", "/metrics", "/events", "/healthz", "/nothing"} {
			for _, answer := range []*httptest.ResponseRecorder{b.get(path), b.ask("POST", "localhost", path), b.ask("GET", "evil", path)} {
				if got := answer.Header().Get(name); got != want {
					t.Errorf("%s: %d: %s: %q", path, answer.Code, name, got)
				}
			}
		}
	}
}

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
