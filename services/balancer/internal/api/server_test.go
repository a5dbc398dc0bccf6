package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// say opens a connection and says something, without waiting for an answer.
func say(t *testing.T, n *network, text string) net.Conn {
	conn := n.dial(t)
	go io.WriteString(conn, text)
	synctest.Wait()
	return conn
}

// What a server answers by itself never comes to the handler, so these are asked
// over a connection.
func TestWhatAConnectionIsAnswered(t *testing.T) {
	tests := []struct{ request, status, header string }{
		{"HEAD / HTTP/1.1\r\nHost: localhost", "200 OK", "Content-Type: text/html"},
		{"OPTIONS * HTTP/1.1\r\nHost: evil.example", "403 ", ""},
		{"OPTIONS * HTTP/1.1\r\nHost: localhost", "405 ", "Allow: GET, HEAD"},
		{"CONNECT evil.example:80 HTTP/1.1\r\nHost: x", "403 ", ""},
		{"PRI * HTTP/2.0\r\n\r\nSM", "4", ""},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 2<<20), "431 ", ""},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			n, _, stop := serve(t, newBalancer("server1"))
			conn := say(t, n, test.request+"\r\nConnection: close\r\n\r\n")
			conn.SetDeadline(time.Now().Add(time.Minute))
			answer, _ := io.ReadAll(conn)
			head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 "+test.status) || !strings.Contains(head, test.header) || strings.HasPrefix(test.request, "HEAD") && body != "" {
				t.Errorf("%.60q is answered %q", test.request, answer)
			}
			conn.Close()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheServerStopsWhileConnectionsAreOpen(t *testing.T) {
	for _, test := range []struct {
		name, said string
		reads      bool
		within     time.Duration // after the grace
	}{
		{"one that has said nothing yet", "", true, 0},
		{"one in the middle of its request", "GET / HTTP/1.1\r\nHost: loc", true, 0},
		{"one that is kept for the next request", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", true, 0},
		{"one that reads what happens", "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", true, 0},
		{"one that does not read what it is told", "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", false, writeTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBalancer("server1", "server2")
			n, _, stop := serve(t, b)
			conn := say(t, n, test.said)
			if test.reads {
				go io.Copy(io.Discard, conn)
			}
			synctest.Wait()
			began := time.Now()
			if err := stop(); err != nil || time.Since(began) > b.Grace+test.within {
				t.Errorf("%s: returned %v after %v", test.name, err, time.Since(began))
			}
			if n.dial(t) != nil {
				t.Errorf("%s: somebody still listens", test.name)
			}
		})
	}
}

func TestServersThatNeverServe(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(listener, newBalancer("server1").Config).Serve(ctx); err != nil {
		t.Errorf("stopped before it served: %v", err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("its listener: %v", err)
	}
	if err := New(listener, newBalancer("server1").Config).Serve(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("its listener had failed: %v", err)
	}
}

// A client that is slow to ask keeps its connection for no longer than it may.
func TestSlowClientsAreCutOff(t *testing.T) {
	for said, most := range map[string]time.Duration{
		"GET / HTTP/1.1\r\nHost: loc":                      5 * time.Second,
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n": time.Minute + time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			n, _, stop := serve(t, newBalancer("server1"))
			conn, began := say(t, n, said), time.Now()
			if _, err := io.Copy(io.Discard, conn); err != nil || time.Since(began) > most {
				t.Errorf("%q: cut off after %v: %v", said, time.Since(began), err)
			}
			stop()
		})
	}
}

// watch opens /events.
func watch(t *testing.T, n *network, header string) (answer *http.Response, stream *bufio.Reader, conn net.Conn) {
	t.Helper()
	conn = say(t, n, "GET /events HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer, bufio.NewReader(answer.Body), conn
}

// next reads one event of a stream.
func next(t *testing.T, r *bufio.Reader) told {
	t.Helper()
	for text := ""; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
		if line == "\n" {
			return parse(t, text)
		}
		text += line
	}
}

// lastWord reads a stream to its end, and returns why it ends.
func lastWord(t *testing.T, stream *bufio.Reader) string {
	t.Helper()
	last := next(t, stream)
	for last.name != "bye" {
		last = next(t, stream)
	}
	if _, err := stream.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	return last.Why
}

func TestEventsAreAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, server, stop := serve(t, newBalancer("server1", "server2"))
		answer, line, conn := watch(t, n, "Last-Event-ID: <script>\r\n")
		if text, _ := line.ReadString('\n'); answer.StatusCode != http.StatusBadRequest || !strings.HasPrefix(text, `Last-Event-ID: "<script>" is not the number of a turn`) {
			t.Errorf("%s: %s", answer.Status, text)
		}
		conn.Close()
		_, stream, conn := watch(t, n, "")
		if next(t, stream); len(server.feed.places) != 1 {
			t.Errorf("%d places taken by one reader", len(server.feed.places))
		}
		conn.Close()
		if synctest.Wait(); len(server.feed.places) != 0 {
			t.Error("a reader that has gone still has its place")
		}
		answer, stream, _ = watch(t, n, "Last-Event-ID: 2\r\n")
		if got := answer.Header.Get("Content-Type"); answer.StatusCode != 200 || got != "text/event-stream" {
			t.Errorf("%s, Content-Type %q", answer.Status, got)
		}
		if first := next(t, stream); first.name != "hello" || first.id != "3" || len(first.Turns) != 3 || *first.After != 2 || first.Count != 1 || first.Missed != 0 {
			t.Errorf("%+v", first)
		}
		// It outlives the timeouts of requests.
		for began := time.Now(); time.Since(began) <= server.http.WriteTimeout; {
			next(t, stream)
		}
		stopped := make(chan error)
		go func() { stopped <- stop() }()
		if why := lastWord(t, stream); why != "the balancer is stopping" {
			t.Errorf("it ends with %q", why)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestASlowReaderIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer("server1", "server2")
		n, _, stop := serve(t, b)
		_, stream, _ := watch(t, n, "")
		for range 2 * backlog {
			b.more(time.Now(), 1, "127.0.0.1:4001")
			time.Sleep(frameEvery)
		}
		if why := lastWord(t, stream); why != "too slow" {
			t.Errorf("it ends with %q", why)
		}
		stop()
	})
}
