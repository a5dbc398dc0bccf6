package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite{m}, goleak.Cleanup(os.Exit)) }

// suite ends the browser when the tests have run.
type suite struct{ *testing.M }

func (s suite) Run() int {
	defer func() { endBrowser() }()
	return labtest.Main(s.M)
}

// start starts a lab for a test in the browser. It skips the test where there is
// no Chromium, or no time for one, and says so.
func start(t *testing.T, cfg lab.Config) *lab.Stack {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no browser")
	}
	if _, err := browserPath(); err != nil {
		if os.Getenv("UDPLAB_REQUIRE_BROWSER") == "1" {
			t.Fatal("UDPLAB_REQUIRE_BROWSER=1, but ", err)
		}
		t.Skip(err)
	}
	return labtest.Start(t, cfg)
}

// openLab starts a lab and opens its page, which is live.
func openLab(t *testing.T, cfg lab.Config) (*lab.Stack, *tab) {
	t.Helper()
	stack := start(t, cfg)
	b := openTab(t)
	b.openLive(stack.URL())
	return stack, b
}

// ping sends n datagrams from a client of its own, one after the other.
func ping(t *testing.T, stack *lab.Stack, n int, more ...string) {
	t.Helper()
	args := append([]string{"-c", fmt.Sprint(n), "-i", "30ms", "-W", "1100ms", "-q"}, more...)
	if _, err := stack.Client(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// startClient starts a client that goes on by itself. It ends with the test, or
// when stop is called.
func startClient(t *testing.T, stack *lab.Stack, args ...string) (stop func()) {
	t.Helper()
	client := stack.ClientCommand(t.Context(), args...)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _, _ = client.Process.Kill(), client.Wait() })
	t.Cleanup(stop)
	return stop
}

// startReaders opens /events n times and returns when each has had its first
// event, with which the balancer's answer begins; stop ends them.
func startReaders(t testing.TB, url string, n int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	transport := &http.Transport{DisableKeepAlives: true}
	for range n {
		request, err1 := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
		answer, err2 := transport.RoundTrip(request)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusOK {
			t.Errorf("a reader was not let in: %s", answer.Status)
		}
		reading.Go(func() {
			defer answer.Body.Close()
			_, _ = io.Copy(io.Discard, answer.Body)
		})
	}
	return func() { cancel(); reading.Wait() }
}

// ledger returns the turns that the balancer remembers, by number.
func ledger(t *testing.T, stack *lab.Stack) map[uint64]lab.Turn {
	t.Helper()
	known, err := lab.ReadLedger(t.Context(), stack.URL(), 0)
	if err != nil {
		t.Fatal(err)
	}
	turns := map[uint64]lab.Turn{}
	for _, turn := range known.Turns {
		turns[turn.Turn] = turn
	}
	return turns
}

// browserPath is where Chromium is.
var browserPath = sync.OnceValues(func() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no chromium here")
})

// endBrowser ends the browser, if one was started.
var endBrowser = func() {}

// startBrowser starts one browser for all tests the first time it is called.
var startBrowser = sync.OnceValues(func() (context.Context, error) {
	path, err := browserPath()
	if err != nil {
		return nil, err
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // the page is our own, and tests run as root in containers
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(lab.Patience))...)
	ctx, end := chromedp.NewContext(allocator)
	endBrowser = func() {
		if err := chromedp.Cancel(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "the browser did not end:", err)
		}
		end()
		endAllocator()
	}
	return ctx, chromedp.Do(ctx)
})
