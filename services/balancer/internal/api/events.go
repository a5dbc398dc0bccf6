package api

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// writeTimeout is how long a reader of /events may take for one event.
const writeTimeout = 5 * time.Second

// resumePoint is the last turn that a reader of /events says it knows of: in
// the header that a browser sends when it connects again, or in the query as
// after=N. nil: none. With started=TIME in the query it says of which balancer
// that is, by the status' field of that name: another one's turns are none.
func resumePoint(r *http.Request, started time.Time) (*uint64, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %v", err)
	}
	if times, given := query["started"]; given {
		at, err := time.Parse(time.RFC3339Nano, times[0])
		switch {
		case len(times) > 1:
			return nil, fmt.Errorf("started is given %d times", len(times))
		case err != nil:
			return nil, fmt.Errorf("started: %q is not a time as /api/status writes it", times[0])
		case !at.Equal(started):
			return nil, nil
		}
		query.Del("started")
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, err := turnNumber(id)
		if err != nil {
			return nil, fmt.Errorf("Last-Event-ID: %w", err)
		}
		return &n, nil
	}
	if len(query) == 0 {
		return nil, nil
	}
	n, err := ledgerQuery(query)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// serve sends server-sent events to one reader until it goes, falls behind or
// the balancer stops.
func (f *feed) serve(w http.ResponseWriter, r *http.Request) {
	after, err := resumePoint(r, f.cfg.Ledger.Started())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h := w.Header()
	if r.Method == http.MethodHead {
		h.Set("Content-Type", "text/event-stream")
		return
	}
	reader, first, err := f.join(time.Now(), after)
	if err != nil {
		h.Set("Retry-After", "5")
		unavailable(w, err.Error())
		return
	}
	defer f.leave(reader)
	h.Set("Content-Type", "text/event-stream")
	// An answer has to be written within the server's timeout. This one has no
	// end; instead, each event has a time of its own.
	control := http.NewResponseController(w)
	write := func(event []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write(event)
		return err == nil && control.Flush() == nil
	}
	if !write(first) {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case frame, ok := <-reader.frames:
			if !ok {
				write(event("bye", nil, struct {
					Why string `json:"why"`
				}{reader.why}))
				return
			}
			if !write(frame) {
				return
			}
		}
	}
}
