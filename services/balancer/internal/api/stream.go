package api

import (
	"bytes"
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
	after, err := lastKnown(r.URL.RawQuery, r.Header.Get("Last-Event-ID"), f.cfg.Ledger.Started())
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
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
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
	for next := first; write(next); {
		select {
		case <-r.Context().Done():
			return
		case frame, ok := <-reader.frames:
			if !ok {
				write(event("bye", nil, map[string]string{"why": reader.why}))
				return
			}
			next = frame
		}
	}
}

// event writes a server-sent event.
func event(name string, id *uint64, data any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", name)
	if id != nil {
		fmt.Fprintf(&b, "id: %d\n", *id)
	}
	b.WriteString("data: ")
	if err := json.NewEncoder(&b).Encode(data); err != nil { // ends the line
		panic(err) // our own types: numbers, times and text
	}
	b.WriteString("\n")
	return b.Bytes()
}
