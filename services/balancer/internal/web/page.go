package web

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"time"

	"udplab/services/balancer/internal/ledger"
)

// The page works without a script as a table that renews itself; its scripts
// bring it to life. Everything is in the program: nothing is loaded from
// anywhere else.
//
//go:embed page
var pageFiles embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"thousands": thousands,
	"ms":        func(ms *float64) string { return shortMillis(*ms) },
	"add":       func(a, b int) int { return a + b },
	"percent":   percent,
	"noAnswer":  func(b BackendStatus) string { return percent(b.Silent, b.Silent+b.Answered) },
	"clock":     func(t time.Time) string { return t.Format(time.TimeOnly) },
	"color":     func(place int) int { return (place-1)%colors + 1 },
	"mark":      func(o ledger.Outcome) string { return marks[o] },
}).ParseFS(pageFiles, "page/page.html"))

// colors is how many servers have a colour of their own; then they repeat.
const colors = 8

// marks stand under a turn on the tape; an answered one needs none.
var marks = map[ledger.Outcome]string{ledger.Waiting: "…", ledger.Silent: "✗", ledger.Dropped: "⊘", ledger.Undelivered: "⊘"}

// percent is a share as people read it; – if there is nothing to share.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// view is what the page shows before its scripts run.
type view struct {
	Status
	NextPlace  int // from 1; 0: no server is up
	Whose      string
	AllTurns   uint64 // of this start
	Tape       []Turn
	NextOnTape int // its place; 0: none
	News       []Item
}

// servePage shows how things are.
func (f *feed) servePage(w http.ResponseWriter) {
	now := time.Now()
	v := view{Status: newStatus(f.cfg, f.cfg.Ledger.Snapshot(now)), NextPlace: metrics{f.cfg}.nextPlace()}
	if v.Next != nil {
		v.Whose = *v.Next
	}
	for _, b := range v.Backends {
		v.AllTurns += b.Turns
	}
	last := f.cfg.Ledger.Last()
	eachTurn(f.cfg.Ledger, now, last-min(last, tapeLength), last, func(uint64) {}, func(t ledger.Turn) {
		v.Tape = append(v.Tape, newTurn(t))
	})
	f.mu.Lock()
	v.News = slices.Clone(f.news.items)
	f.mu.Unlock()
	slices.Reverse(v.News)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pageTemplate.Execute(w, v) // fails only when the reader has gone
}

// contentTypes of the page's files. The system's own table may be wrong.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// addFiles serves the page's scripts, its style and its icon.
func addFiles(mux *http.ServeMux) {
	entries, err := pageFiles.ReadDir("page")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, entry := range entries {
		kind, ok := contentTypes[path.Ext(entry.Name())]
		if !ok {
			continue
		}
		content, err := pageFiles.ReadFile("page/" + entry.Name())
		if err != nil {
			panic(err)
		}
		mux.HandleFunc("/"+entry.Name(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(content)
		})
	}
}
