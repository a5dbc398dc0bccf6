package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"udplab/services/balancer/internal/ledger"
)

// names are those that people may build upon.
var names = []string{
	"balancer_backend_downs_total", "balancer_backend_moves_total", "balancer_backend_transitions_total", "balancer_backend_up", "balancer_build_info", "balancer_bytes_total",
	"balancer_datagrams_forwarded_total", "balancer_datagrams_received_total", "balancer_dropped_total",
	"balancer_kernel_drops_total", "balancer_next_backend", "balancer_order_violations_total",
	"balancer_replies_lost_total", "balancer_replies_refused_total", "balancer_replies_total",
	"balancer_reply_latency_seconds", "balancer_session_evictions_total", "balancer_sessions",
	"balancer_sessions_created_total", "balancer_turns_total",
}

func TestMetricsHaveTheNamesThatAreDocumented(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics{newBalancer("server1", "server2").Config})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		got = append(got, family.GetName())
		if family.GetHelp() == "" {
			t.Errorf("%s has no help", family.GetName())
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if !slices.Contains([]string{"backend", "direction", "reason", "cause", "to", "version", "goversion", "datapath"}, label.GetName()) {
					t.Errorf("%s has the label %s", family.GetName(), label.GetName())
				}
				if strings.Contains(label.GetValue(), "127.0.0.1") {
					t.Errorf("%s has an address in %s", family.GetName(), label)
				}
			}
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("got %v, want %v", got, names)
	}
}

func TestMetricsFollowPrometheusRules(t *testing.T) {
	problems, err := testutil.CollectAndLint(metrics{newBalancer("server1", "server2").Config})
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

func TestMetricsAreTheLedgers(t *testing.T) {
	b := newBalancer("server1", "server2")
	b.down(0, "connection refused")
	b.Ledger.SessionClosed(ledger.Idle)
	answer := b.get("/metrics")
	if got := answer.Header().Get("Content-Type"); answer.Code != http.StatusOK || !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("%d, Content-Type %q", answer.Code, got)
	}
	text := answer.Body.String()
	for _, line := range []string{
		`balancer_datagrams_received_total 7`,
		`balancer_datagrams_forwarded_total{backend="server1"} 1`,
		`balancer_replies_total{backend="server2"} 0`,
		`balancer_replies_lost_total{backend="server1"} 0`,
		`balancer_replies_refused_total 0`,
		`balancer_backend_downs_total{backend="server1",cause="refused"} 1`,
		`balancer_backend_downs_total{backend="server1",cause="name"} 0`,
		`balancer_backend_moves_total{backend="server1"} 0`,
		`balancer_bytes_total{backend="server1",direction="forward"} 19`,
		`balancer_bytes_total{backend="server1",direction="reply"} 27`,
		`balancer_dropped_total{reason="no_backend"} 4`,
		`balancer_dropped_total{reason="send_failed"} 1`,
		`balancer_dropped_total{reason="stranger"} 0`,
		`balancer_kernel_drops_total 17`,
		`balancer_turns_total 3`,
		`balancer_next_backend 2`,
		`balancer_order_violations_total 0`,
		`balancer_sessions 0`,
		`balancer_sessions_created_total 1`,
		`balancer_session_evictions_total{reason="idle"} 1`,
		`balancer_session_evictions_total{reason="evicted"} 0`,
		`balancer_backend_up{backend="server1"} 0`,
		`balancer_backend_up{backend="server2"} 1`,
		`balancer_backend_transitions_total{backend="server1",to="down"} 1`,
		`balancer_reply_latency_seconds_bucket{backend="server1",le="0.000256"} 0`,
		`balancer_reply_latency_seconds_bucket{backend="server1",le="0.000512"} 1`,
		`balancer_reply_latency_seconds_bucket{backend="server1",le="+Inf"} 1`,
		`balancer_reply_latency_seconds_sum{backend="server1"} 0.000412`,
		`balancer_reply_latency_seconds_count{backend="server2"} 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	b.down(1, "connection refused")
	if text := b.get("/metrics").Body.String(); !strings.Contains(text, "\nbalancer_next_backend 0\n") {
		t.Error("no server is up, but somebody is next")
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

// dashboard is what is of interest here in docs/grafana-dashboard.json.
type dashboard struct {
	Title  string
	UID    string
	Panels []struct {
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func TestEveryQueryOfTheDashboardHasItsMetrics(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	asked, count := map[string]bool{}, 0
	for _, panel := range d.Panels {
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
				asked[name] = true
				if !slices.Contains(names, name) {
					t.Errorf("%s asks for %s, which does not exist", panel.Title, name)
				}
			}
			count++
			expr, _ := json.Marshal(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
			fmt.Fprintf(&rules, "      - record: dashboard:query%d\n        expr: %s\n", count, expr)
		}
	}
	for _, name := range names {
		if !asked[name] {
			t.Errorf("nobody asks for %s", name)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file) // every query can be parsed
}

func BenchmarkScrape(b *testing.B) {
	config := newBalancer("server1", "server2", "server3").Config
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics{config})
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, turns := range []int{1, 60, 1000} {
		b.Run(fmt.Sprintf("turns=%d", turns), func(b *testing.B) {
			lab, now := newBalancer("server1", "server2", "server3"), time.Now()
			r, _, err := lab.feed.join(now, nil)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				now = now.Add(fastEvery)
				lab.more(now, turns, "127.0.0.1:4001")
				b.StartTimer()
				lab.feed.look(now)
				<-r.frames
			}
		})
	}
}
