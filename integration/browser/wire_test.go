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
	*tab
	to     atomic.Pointer[lab.Stack] // nil while the wire is cut
	loads  atomic.Int32              // of the page
	losing string                    // a path whose requests are lost until the page is loaded again
}

// openThroughWire opens the page of a lab through a wire.
func openThroughWire(t *testing.T, stack *lab.Stack) *wire {
	t.Helper()
	return openThroughPoorWire(t, stack, "")
}

// openThroughPoorWire does so through one that loses the requests for a path until
// the page is loaded a second time.
func openThroughPoorWire(t *testing.T, stack *lab.Stack, losing string) *wire {
	t.Helper()
	w := &wire{losing: losing}
	w.lead(stack)
	transport := &http.Transport{DisableKeepAlives: true}
	w.Server = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		to := w.to.Load()
		if request.URL.Path == "/" {
			w.loads.Add(1)
		}
		if to == nil || request.URL.Path == w.losing && w.loads.Load() == 1 {
			panic(http.ErrAbortHandler) // which ends the connection
		}
		address, err := url.Parse(to.URL())
		if err != nil {
			panic(err)
		}
		proxy := httputil.ReverseProxy{
			Transport:    transport,
			Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(address) },
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		}
		proxy.ServeHTTP(answer, request)
	}))
	t.Cleanup(w.Close)
	t.Cleanup(w.cut)
	w.tab = openTab(t, "ERR_") // that the connection was lost
	w.openLive(w.URL)
	return w
}

// lead lets new requests through to a lab.
func (w *wire) lead(to *lab.Stack) { w.to.Store(to) }

// cut ends every connection, and every new one at once.
func (w *wire) cut() {
	w.to.Store(nil)
	w.CloseClientConnections()
}

// lose cuts the wire and waits until the page says so.
func (w *wire) lose() {
	w.t.Helper()
	w.cut()
	w.expectText("#stream", "trying again")
}
