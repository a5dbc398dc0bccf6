package browser

import (
	"bufio"
	"context"
	"net/http"
	"sync"
	"testing"
)

// startReaders opens /events n times and returns when each has had its first
// event; stop ends them.
func startReaders(t testing.TB, url string, n int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var reading, begun sync.WaitGroup
	begun.Add(n)
	transport := &http.Transport{}
	for range n {
		reading.Go(func() {
			begin := sync.OnceFunc(begun.Done)
			defer begin()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
			if err != nil {
				panic(err) // a URL of our own
			}
			answer, err := transport.RoundTrip(request)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("a reader was not let in: %v", err)
				return
			}
			defer answer.Body.Close()
			lines := bufio.NewScanner(answer.Body)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if lines.Text() == "" {
					begin()
				}
			}
		})
	}
	begun.Wait()
	return func() {
		cancel()
		reading.Wait()
		transport.CloseIdleConnections()
	}
}
