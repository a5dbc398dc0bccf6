package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// read reads one event of a stream.
func read(t *testing.T, r *bufio.Reader) told {
	t.Helper()
	text := ""
	for {
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

// watch opens /events over a connection of its own.
func watch(t *testing.T, address, header string) (*http.Response, *bufio.Reader, net.Conn) {
	t.Helper()
	conn := dial(t, address)
	fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n%s\r\n", header)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer, bufio.NewReader(answer.Body), conn
}

func TestEventsAreAStream(t *testing.T) {
	address, stop := serve(t, unchanged)
	answer, stream, _ := watch(t, address, "")
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != 200 || got != "text/event-stream" {
		t.Errorf("%s, Content-Type %q", answer.Status, got)
	}
	if first := read(t, stream); first.name != "hello" || first.id != "3" || len(first.Turns) != 3 {
		t.Errorf("%+v", first)
	}
	if took, err := stop(); err != nil || took > time.Second {
		t.Errorf("returned %v after %v with a stream open", err, took)
	}
	for last := read(t, stream); last.name != "bye"; last = read(t, stream) {
	}
	if _, err := stream.ReadByte(); err != io.EOF {
		t.Errorf("the stream did not end: %v", err)
	}
}

func TestAStreamOutlivesTheTimeoutsOfRequests(t *testing.T) {
	address, stop := serve(t, func(s *Server) {
		s.http.ReadTimeout, s.http.WriteTimeout = 150*time.Millisecond, 150*time.Millisecond
	})
	defer stop()
	_, stream, _ := watch(t, address, "")
	began := time.Now()
	for beats := 0; beats < 2; {
		if event := read(t, stream); event.name == "beat" {
			beats++
		}
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("two beats in %v", took)
	}
}

func TestAReaderResumesByLastEventID(t *testing.T) {
	address, stop := serve(t, unchanged)
	defer stop()
	_, stream, _ := watch(t, address, "Last-Event-ID: 2\r\n")
	if first := read(t, stream); first.After == nil || *first.After != 2 || first.Count != 1 || first.Missed != 0 {
		t.Errorf("%+v", first)
	}
	answer, _, _ := watch(t, address, "Last-Event-ID: <script>\r\n")
	text, _ := io.ReadAll(io.LimitReader(answer.Body, answer.ContentLength))
	if answer.StatusCode != http.StatusBadRequest || !strings.HasPrefix(string(text), `Last-Event-ID: "<script>" is not the number of a turn`) {
		t.Errorf("%s: %s", answer.Status, text)
	}
}

func TestAPlaceIsFreeWhenItsReaderHasGone(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := New(listener, newBalancer("server1").Config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	places := func() int {
		server.feed.mu.Lock()
		defer server.feed.mu.Unlock()
		return server.feed.places
	}
	_, stream, conn := watch(t, listener.Addr().String(), "")
	read(t, stream)
	if places() != 1 {
		t.Errorf("%d places taken by one reader", places())
	}
	conn.Close()
	for deadline := time.Now().Add(5 * time.Second); places() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("it still has its place")
		}
		select { // the server hears of it by itself
		case <-time.After(5 * time.Millisecond):
		case err := <-done:
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, err := server.feed.join(time.Now(), nil); err != errStopping {
		t.Errorf("a feed that outlives its server: %v", err)
	}
}

// One that reads nothing must not keep the balancer from stopping.
func TestTheServerStopsWhileAReaderDoesNotRead(t *testing.T) {
	b := newBalancer("server1", "server2", "server3")
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.Grace = 300 * time.Millisecond
	server := New(listener, b.Config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	conn := dial(t, listener.Addr().String())
	conn.(*net.TCPConn).SetReadBuffer(1)
	io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	deadline := time.Now().Add(20 * time.Second)
	for gone := false; !gone; { // until its buffers and its backlog are full
		if time.Now().After(deadline) {
			t.Fatal("it is still being waited for")
		}
		b.more(time.Now(), 60, "127.0.0.1:4001")
		server.feed.look(time.Now())
		server.feed.mu.Lock()
		gone = server.feed.places == 1 && len(server.feed.readers) == 0
		server.feed.mu.Unlock()
	}
	began := time.Now()
	cancel()
	if err := <-done; err != nil || time.Since(began) > 2*b.Grace {
		t.Errorf("returned %v after %v", err, time.Since(began))
	}
}

func TestAReaderOfAnotherBalancersTurnsStartsAfresh(t *testing.T) {
	b := newBalancer("server1", "server2") // three turns
	started := b.Ledger.Started()
	for query, want := range map[string]string{
		"after=2": "2",
		"after=2&started=" + started.Format(time.RFC3339Nano):  "2",
		"started=" + started.Format(time.RFC3339Nano):          "none",
		"after=2&started=2026-01-02T10:04:05.123456789Z":       "none",
		"after=2&started=yesterday":                            `started: "yesterday" is not a time as /api/status writes it`,
		"after=2&started=&started=2026-01-02T10:04:05Z":        "started is given 2 times",
		"started=" + started.Format(time.RFC3339Nano) + "&x=1": `"x" is not understood: only after=N is, the number of the last turn that you know`,
	} {
		after, err := lastKnown(strings.ReplaceAll(query, "+", "%2B"), "", started)
		got := "none"
		switch {
		case err != nil:
			got = err.Error()
		case after != nil:
			got = fmt.Sprint(*after)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
