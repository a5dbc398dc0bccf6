package browser

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"udplab/integration/lab"
)

// wire carries requests to a lab's page, and can be cut.
type wire struct {
	*httptest.Server
	to      atomic.Pointer[url.URL]
	severed atomic.Bool
}

// openThroughWire opens the page of a lab through a wire.
func openThroughWire(t *testing.T, stack *lab.Stack) (*tab, *wire) {
	t.Helper()
	needBrowser(t)
	w := &wire{}
	w.lead(stack)
	proxy := &httputil.ReverseProxy{
		Transport:     &http.Transport{DisableKeepAlives: true},
		FlushInterval: -1,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(w.to.Load()) },
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	w.Server = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if w.severed.Load() {
			panic(http.ErrAbortHandler) // which ends the connection
		}
		proxy.ServeHTTP(answer, request)
	}))
	t.Cleanup(w.Close)
	t.Cleanup(w.cut)
	b := openTab(t)
	b.openLive(w.URL)
	return b, w
}

// lead makes new requests go to another lab.
func (w *wire) lead(to *lab.Stack) {
	address, err := url.Parse(to.URL())
	if err != nil {
		panic(err)
	}
	w.to.Store(address)
}

// cut ends every connection, and every new one at once.
func (w *wire) cut() {
	w.severed.Store(true)
	w.CloseClientConnections()
}

// lose cuts the wire and waits until the page says so.
func (w *wire) lose(b *tab) {
	b.t.Helper()
	w.cut()
	b.expectText("#stream", "trying again")
}

// mend lets new requests through again.
func (w *wire) mend() { w.severed.Store(false) }
