// Package page is what a browser gets: a page that is readable as it is and
// renews itself, and the scripts that bring it to life. All words about the
// state are written here, in Texts; the scripts move dots, show times in the
// reader's time zone and put new texts into their places. Everything is in the
// program: nothing is loaded from anywhere else.
package page

import (
	"embed"
	"encoding/json"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/phrase"
	"udplab/services/balancer/internal/view"
)

// Page is what the page shows before its scripts run.
type Page struct {
	Texts
	Listen        string
	AnswerTimeout float64 // ms
	Zone          string  // of all times
	At, Started   moment
	Tape          []view.Turn
	Between       uint64     // turns after those of the tape and before the next
	News          []newsItem // the newest first
}

type newsItem struct {
	At         moment
	Kind, Text string
}

// New is the page of a status, with the last turns in a row and the news, the
// oldest first.
func New(s view.Status, tape []view.Turn, news []view.Item) Page {
	p := Page{
		Texts: NewTexts(s), Listen: s.Listen, AnswerTimeout: s.AnswerTimeout,
		Zone: s.At.Format("MST"), At: newMoment(s.At, s.At), Started: newMoment(s.Started, s.At), Tape: tape,
	}
	if n := len(tape); n > 0 && s.NextTurn != nil {
		p.Between = *s.NextTurn - 1 - tape[n-1].Turn
	}
	for _, item := range slices.Backward(news) {
		p.News = append(p.News, newsItem{newMoment(item.At, s.At), item.Kind, item.Text})
	}
	return p
}

// Write writes the page as HTML. It fails only when w does.
func (p Page) Write(w io.Writer) error { return pageTemplate.Execute(w, p) }

//go:embed static/*.html static/*.css static/*.js static/*.svg
var static embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"thousands": phrase.Thousands,
	"color":     func(place int) int { return (place-1)%colors + 1 },
	"mark":      func(o ledger.Outcome) mark { return marks[o] },
}).ParseFS(static, "static/page.html"))

// colors is how many servers have a colour of their own; then they repeat.
const colors = 8

// mark is what stands under a turn on the tape, for the eye and in words.
type mark struct {
	Sign string `json:"sign"`
	Word string `json:"word"`
}

// marks of outcomes; an answered turn needs none.
var marks = map[ledger.Outcome]mark{
	ledger.Waiting:     {"…", ", waiting"},
	ledger.Silent:      {"✗", ", no answer"},
	ledger.Dropped:     {"⊘", ", not sent"},
	ledger.Undelivered: {"⊘", ", answer not delivered"},
	view.Forgotten:     {"?", ", not known"},
}

// Marks are the marks of all outcomes, for the script.
func (Page) Marks() (string, error) {
	text, err := json.Marshal(marks)
	return string(text), err
}

// BlankTurn is a turn for the script to fill in.
func (Page) BlankTurn() map[string]any {
	return map[string]any{"Turn": "{turn}", "Server": "{server}", "Client": "{client}", "Place": 0, "NewClient": true, "Outcome": ledger.Answered}
}

// BlankRow is a server for the script to fill in.
func (Page) BlankRow() Row { return Row{} }

// contentTypes of the page's files. The system's own table may be wrong.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// AddFiles makes mux serve the page's scripts, its style and its icon.
func AddFiles(mux *http.ServeMux) {
	for extension, kind := range contentTypes {
		files, _ := fs.Glob(static, "static/*"+extension) // fails only for a bad pattern
		for _, file := range files {
			mux.HandleFunc("/"+path.Base(file), func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				http.ServeFileFS(w, r, static, file)
			})
		}
	}
}
