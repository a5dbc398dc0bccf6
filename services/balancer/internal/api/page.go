package api

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
)

// The page works without a script as a table that renews itself; its scripts
// bring it to life. Everything is in the program: nothing is loaded from
// anywhere else.
//
//go:embed static
var pageFiles embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"thousands": thousands,
	"ms":        func(ms *float64) string { return shortMillis(*ms) },
	"add":       func(a, b int) int { return a + b },
	"percent":   percent,
	"noAnswer":  func(b BackendStatus) string { return percent(b.Silent, b.Silent+b.Answered) },
	"clock":     func(t time.Time) string { return t.Format(time.TimeOnly) },
	"stamp":     stamp,
	"color":     func(place int) int { return (place-1)%colors + 1 },
	"mark":      func(o ledger.Outcome) string { return marks[o].sign },
	"word":      func(o ledger.Outcome) string { return marks[o].word },
}).ParseFS(pageFiles, "static/page.html"))

// colors is how many servers have a colour of their own; then they repeat.
const colors = 8

// mark is what stands under a turn on the tape, for the eye and in words.
type mark struct{ sign, word string }

// marks of outcomes; an answered turn needs none.
var marks = map[ledger.Outcome]mark{
	ledger.Waiting:     {"…", "waiting"},
	ledger.Silent:      {"✗", "no answer"},
	ledger.Dropped:     {"⊘", "not sent"},
	ledger.Undelivered: {"⊘", "answer not delivered"},
}

// percent is a share as people read it; – if there is nothing to share.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// stamp writes a time as JSON has it.
func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

// view is what the page shows before its scripts run.
type view struct {
	Status
	NextPlace   int // from 1; 0: no server is up
	NextIsTrial bool
	Whose       string
	AllTurns    uint64 // of this start
	Tape        []Turn
	Between     uint64 // turns after those of the tape and before the next
	News        []Item
}

// newView is everything but the news. All of it that says whose turn is next
// is taken from one look at the rotation, and so is where the tape ends: what
// stands side by side is in order.
func newView(cfg Config, now time.Time) view {
	v := view{Status: newStatus(cfg, cfg.Ledger.Snapshot(now))}
	for i, b := range v.Backends {
		v.AllTurns += b.Turns
		if v.Next != nil && b.Name == *v.Next {
			v.Whose, v.NextPlace, v.NextIsTrial = b.Name, i+1, b.Trial
		}
	}
	end := cfg.Ledger.Last()
	if v.NextTurn != nil {
		end = min(end, *v.NextTurn-1)
	}
	eachTurn(cfg.Ledger, now, end-min(end, tapeLength), end, func(uint64) {}, func(t ledger.Turn) {
		v.Tape = append(v.Tape, newTurn(t))
	})
	if n := len(v.Tape); n > 0 && v.NextTurn != nil {
		v.Between = *v.NextTurn - 1 - v.Tape[n-1].Turn
	}
	return v
}

// instant is a time as the page writes it: for people, and for its scripts.
type instant struct{ Text, Stamp string }

// Moment is a time of day, with the date if that is not today's.
func (v view) Moment(t time.Time) instant {
	layout := time.TimeOnly
	switch year, day := t.Year(), t.YearDay(); {
	case year != v.At.Year():
		layout = "2 Jan 2006 " + layout
	case day != v.At.YearDay():
		layout = "2 Jan " + layout
	}
	return instant{t.Format(layout), stamp(t)}
}

// Ago is how long ago a time was, in the largest unit that there is one of, on
// one line.
func (v view) Ago(t time.Time) string {
	switch d := max(0, v.At.Sub(t)); {
	case d < time.Minute:
		return fmt.Sprintf("%d\u00a0s\u00a0ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d\u00a0min\u00a0ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d\u00a0h\u00a0ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d\u00a0days\u00a0ago", d/(24*time.Hour))
	}
}

// Disposition is what becomes of the turns of a server that is down.
func (v view) Disposition(b BackendStatus) string {
	up := func(b BackendStatus) bool { return b.Up }
	turns := ""
	switch {
	case !slices.ContainsFunc(v.Backends, up): // nothing but a try is sent
	case v.WhenDown == balancing.Hold.String():
		turns = "Its turns are kept and lost"
	default:
		turns = "Its turns go to the next server"
	}
	switch {
	case !b.Trial && turns == "":
		return ""
	case !b.Trial:
		return turns + "."
	case turns == "":
		return "One turn every two seconds tries it."
	}
	return turns + "; one turn every two seconds tries it."
}

// Story says how the newest client's run joined the order.
func (v view) Story() string {
	if v.Run == nil {
		return ""
	}
	began := fmt.Sprintf("A new client, %s, began at turn #%s with %s", v.Run.Client, thousands(v.Run.Turn), v.Run.Server)
	if v.Run.AfterServer == nil {
		return began + "."
	}
	return fmt.Sprintf("%s: the order went on after #%s, %s.", began, thousands(v.Run.Turn-1), *v.Run.AfterServer)
}

// servePage shows how things are.
func (f *feed) servePage(w http.ResponseWriter) {
	v := newView(f.cfg, time.Now())
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
	entries, err := pageFiles.ReadDir("static")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, entry := range entries {
		kind, ok := contentTypes[path.Ext(entry.Name())]
		if !ok {
			continue
		}
		content, err := pageFiles.ReadFile("static/" + entry.Name())
		if err != nil {
			panic(err)
		}
		mux.HandleFunc("/"+entry.Name(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(content)
		})
	}
}
