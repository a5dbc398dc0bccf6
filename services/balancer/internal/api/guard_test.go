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

// strict is what every answer tells the browser.
var strict = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"X-Content-Type-Options": "nosniff",
	"Referrer-Policy":        "no-referrer",
	"Cache-Control":          "no-store",
}

func TestPathsAndMethods(t *testing.T) {
	b := newBalancer("server1", "server2")
	for code, requests := range map[int][]string{
		200: {
			"GET /", "HEAD /", "GET /style.css", "HEAD /healthz", "HEAD /api/status", "GET /main.js", "GET /icon.svg", "GET /api/ledger",
			"HEAD /api/ledger", "GET /metrics", "HEAD /metrics", "GET /events", "HEAD /events", "GET /page.json",
		},
		404: {
			"GET /page.html", "GET /page/main.js", "GET /events/", "GET /nothing", "GET /api/", "GET /healthz/", "GET /../page.html", "HEAD /favicon.ico",
		},
		405: {
			"POST /", "POST /events", "POST /metrics", "DELETE /api/ledger", "PUT /api/status", "DELETE /nothing", "OPTIONS /healthz", "TRACE /", "POST /style.css",
		},
	} {
		for _, request := range requests {
			method, path, _ := strings.Cut(request, " ")
			answer := b.ask(method, "localhost", path)
			for answer.Code/100 == 3 { // a path with .. is cleaned first
				answer = b.ask(method, "localhost", answer.Header().Get("Location"))
			}
			if allow := answer.Header().Get("Allow"); answer.Code != code || (allow == "GET, HEAD") != (code == 405) {
				t.Errorf("%s: %d, want %d; Allow: %q", request, answer.Code, code, allow)
			}
			for _, answer := range []*httptest.ResponseRecorder{answer, b.ask(method, "evil", path)} {
				for name, want := range strict {
					if got := answer.Header().Get(name); got != want {
						t.Errorf("%s: %d: %s: %q", request, answer.Code, name, got)
					}
				}
			}
		}
	}
}

func TestOnlyAllowedHostsAreAnswered(t *testing.T) {
	b := newBalancer("server1")
	for allowed, hosts := range map[bool][]string{
		true: {
			"localhost", "localhost:8080", "LocalHost:8080", "balancer:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "[0:0::1]:8080",
		},
		false: {
			"", ":8080", "evil.example", "evil.example:8080", "EVIL.EXAMPLE", "localhost.evil.example", "evil.example:localhost", "localhost@evil.example",
			"127.0.0.2:8080", "[::2]:8080", "[::ffff:127.0.0.1]", "::1", "[::1", "[]", "[evil.example]", "[::1%localhost]",
		},
	} {
		for _, host := range hosts {
			for _, path := range []string{"/", "/api/status", "/healthz", "/nothing"} {
				answer := b.ask("GET", host, path)
				if (answer.Code != http.StatusForbidden) != allowed {
					t.Errorf("Host: %s at %s: %d", host, path, answer.Code)
				}
				if !allowed && strings.Contains(answer.Body.String(), "server1") {
					t.Errorf("Host: %s at %s: the answer tells something", host, path)
				}
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
				if !hosts.Allow(header) {
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

// allowedHost is who may be named in the Host header of a request to
// newBalancer, in brackets or not.
var allowedHost = regexp.MustCompile(`^(?i:[\[\]]*(localhost|127\.0\.0\.1|balancer|[0:.]*1)[\[\]]*)(:[^:]*)?$`)

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
		for name, want := range strict {
			if got := answer.Header().Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}
