package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"udplab/services/balancer/internal/ledger"
)

// The names in the golden file are those that people may build upon.
func TestMetricsAreTheLedgers(t *testing.T) {
	b := newBalancer("server1", "server2")
	b.down(0, "connection refused")
	b.Ledger.SessionClosed(ledger.Idle)
	answer := b.get("/metrics")
	if got := answer.Header().Get("Content-Type"); answer.Code != http.StatusOK || !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("%d, Content-Type %q", answer.Code, got)
	}
	golden(t, "metrics.txt", strings.ReplaceAll(answer.Body.String(), runtime.Version(), "GOVERSION"))
	b.down(1, "connection refused")
	if !strings.Contains(b.get("/metrics").Body.String(), "\nbalancer_next_backend 0\n") {
		t.Error("no server is up, but one is next")
	}
}

func TestMetricsFollowPrometheusRules(t *testing.T) {
	problems, err := testutil.CollectAndLint(metrics{newBalancer("server1", "server2").Config})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// docs is where the repository keeps what Prometheus and Grafana read.
const docs = "../../../../docs"

// promtool runs Prometheus' own checks, or skips the test and says why. With
// UDPLAB_REQUIRE_PROMTOOL=1 it fails instead.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("UDPLAB_REQUIRE_PROMTOOL") == "1" {
			t.Fatal("UDPLAB_REQUIRE_PROMTOOL=1, but there is no promtool here")
		}
		t.Skip("there is no promtool here")
	}
	if said, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

func TestTheScrapeConfigurationIsValid(t *testing.T) {
	promtool(t, "check", "config", filepath.Join(docs, "prometheus.yml"))
}

func TestEveryQueryOfTheDashboardHasItsMetrics(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			GridPos struct{ W int }
			Targets []struct{ Expr string }
		}
	}
	mustDecode(t, string(text), &dashboard)
	known, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	unasked := map[string]bool{} // names of metrics
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (\w+)`).FindAllSubmatch(known, -1) {
		unasked[string(line[1])] = true
	}
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	for _, panel := range dashboard.Panels {
		if panel.Title == "" || panel.GridPos.W == 0 || len(panel.Targets) == 0 {
			t.Errorf("a panel without a title, a place or a query: %+v", panel)
		}
		for _, target := range panel.Targets {
			found := regexp.MustCompile(`balancer_\w+`).FindAllString(target.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s asks for none of our metrics: %s", panel.Title, target.Expr)
			}
			for _, name := range found {
				name = regexp.MustCompile(`_seconds_(bucket|sum|count)$`).ReplaceAllString(name, "_seconds")
				if _, exists := unasked[name]; !exists {
					t.Errorf("%s asks for %s, which does not exist", panel.Title, name)
				}
				unasked[name] = false
			}
			expr, _ := json.Marshal(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
			rules += fmt.Sprintf("      - record: dashboard:query%d\n        expr: %s\n", strings.Count(rules, "record:"), expr)
		}
	}
	for name, missing := range unasked {
		if missing {
			t.Errorf("nobody asks for %s", name)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file) // every query can be parsed
}

func BenchmarkScrape(b *testing.B) {
	scrape := metricsHandler(newBalancer("server1", "server2", "server3").Config)
	for b.Loop() {
		scrape.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, turns := range []int{1, 60, 1000} {
		b.Run(fmt.Sprintf("turns=%d", turns), func(b *testing.B) {
			lab, now := newBalancer("server1", "server2", "server3"), time.Now()
			_, frames := lab.feed.join(now, nil)
			for b.Loop() {
				b.StopTimer()
				now = now.Add(fastEvery)
				lab.more(now, turns, "127.0.0.1:4001")
				b.StartTimer()
				lab.feed.look(now)
				<-frames
			}
		})
	}
}
