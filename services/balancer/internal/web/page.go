package web

import (
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// servePage shows the state as a table that needs no script.
func servePage(w http.ResponseWriter, cfg Config) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, status(cfg)) // fails only when the reader has gone
}
