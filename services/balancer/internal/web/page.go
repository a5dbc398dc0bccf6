package web

import (
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageText string

//go:embed style.css
var style []byte

var page = template.Must(template.New("page").Parse(pageText))

// servePage shows the state as a table that needs no script.
func servePage(w http.ResponseWriter, cfg Config) {
	view := struct {
		Status
		Whose string // turn is next; empty: no server is up
	}{Status: status(cfg)}
	if view.Next != nil {
		view.Whose = *view.Next
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, view) // fails only when the reader has gone
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(style)
}
