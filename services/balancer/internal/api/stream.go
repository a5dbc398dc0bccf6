package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// writeTimeout is how long a reader of /events may take for one event.
const writeTimeout = 5 * time.Second

// serve sends server-sent events to one reader until it goes, falls behind or
// the balancer stops.
func (f *feed) serve(w http.ResponseWriter, r *http.Request) {
	after, err := lastKnown(r.URL.RawQuery, r.Header.Get("Last-Event-ID"), f.Ledger.Started())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h := w.Header()
	if r.Method == http.MethodHead {
		h.Set("Content-Type", "text/event-stream")
		return
	}
	select {
	case f.places <- struct{}{}:
		defer func() { <-f.places }()
	default:
		h.Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("%d readers are watching already: close one of their pages and try again", maxReaders), http.StatusServiceUnavailable)
		return
	}
	next, frames := f.join(time.Now(), after)
	defer f.leave(frames)
	h.Set("Content-Type", "text/event-stream")
	// An answer has to be written within the server's timeout. This one has no
	// end; instead, each event has a time of its own.
	control := http.NewResponseController(w)
	write := func(event []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write(event)
		return err == nil && control.Flush() == nil
	}
	bye := func(why string) { write(event("bye", map[string]string{"why": why})) }
	for write(next) {
		select {
		case <-r.Context().Done():
			return
		case <-f.stopping:
			bye("the balancer is stopping")
			return
		case frame, ok := <-frames:
			if !ok {
				bye("too slow")
				return
			}
			next = frame
		}
	}
}

// event writes a server-sent event.
func event(name string, data any) []byte {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // our own types: numbers, times and text
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, text)
}
