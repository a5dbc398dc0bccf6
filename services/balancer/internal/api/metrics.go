package api

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

// metrics reads everything from the ledger when it is asked, in one snapshot.
// No label carries a client's address: there may be any number of them.
type metrics struct{ Config }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("balancer_"+name, help, labels, nil)
}

var (
	receivedDesc    = describe("datagrams_received_total", "Datagrams that came from clients; always forwarded plus dropped.")
	forwardedDesc   = describe("datagrams_forwarded_total", "Datagrams that the kernel took for a server.", "backend")
	repliesDesc     = describe("replies_total", "Replies that went out to clients.", "backend")
	refusedDesc     = describe("replies_refused_total", "Replies that went out and met nobody: the client's machine said so by ICMP. 0 where the system does not say.")
	lostDesc        = describe("replies_lost_total", "Replies that came and that the system would not send to the client.", "backend")
	bytesDesc       = describe("bytes_total", "Payload bytes: forward is client to server, reply is server to client.", "direction", "backend")
	droppedDesc     = describe("dropped_total", "Datagrams that came and were not forwarded, by reason.", "reason")
	kernelDropsDesc = describe("kernel_drops_total", "Datagrams that the kernel dropped at the listener because they came faster than they were taken; 0 where it does not say.")
	turnsDesc       = describe("turns_total", "Turns taken since the first start, over restarts if there is a state file.")
	nextDesc        = describe("next_backend", "Whose turn is next: its place in turn order counted from 1, or 0 while no server is up.")
	violationsDesc  = describe("order_violations_total", "Turns out of place; never anything but 0.")
	sessionsDesc    = describe("sessions", "Clients that have a session now.")
	createdDesc     = describe("sessions_created_total", "Sessions opened.")
	endedDesc       = describe("session_evictions_total", "Sessions ended, by reason: idle, evicted for a new client, or stopped with the balancer.", "reason")
	upDesc          = describe("backend_up", "1 while the server is up, else 0.", "backend")
	transitionsDesc = describe("backend_transitions_total", "How often the server went up or down.", "backend", "to")
	downsDesc       = describe("backend_downs_total", "How often the server went down, by cause: refused, probes unanswered, name gone, or an address where it cannot be served.", "backend", "cause")
	movesDesc       = describe("backend_moves_total", "How often the server's name led to another address.", "backend")
	latencyDesc     = describe("reply_latency_seconds", "Round-trip time from a client's last datagram to the server to its first reply: exact for clients that wait for each answer.", "backend")
	buildDesc       = describe("build_info", "1, labelled with what runs.", "version", "goversion", "datapath")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, to) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	s := m.Ledger.Snapshot(time.Now())
	count(receivedDesc, s.Received)
	count(refusedDesc, s.RepliesRefused)
	count(turnsDesc, s.Turns)
	count(violationsDesc, s.OrderViolations)
	gauge(sessionsDesc, float64(s.Sessions))
	count(createdDesc, s.SessionsOpened)
	for ending, n := range s.SessionsClosed {
		count(endedDesc, n, ledger.CloseReason(ending).String())
	}
	for f := ledger.Forwarded + 1; f < ledger.Dispositions; f++ {
		count(droppedDesc, s.Dropped[f], f.String())
	}
	if m.KernelDrops != nil {
		count(kernelDropsDesc, m.KernelDrops())
	} else {
		count(kernelDropsDesc, 0)
	}
	gauge(nextDesc, float64(m.nextPlace()))
	gauge(buildDesc, 1, m.Facts.Version, runtime.Version(), m.Facts.DataPath)
	for _, b := range s.Backends {
		count(forwardedDesc, b.Forwarded, b.Name)
		count(repliesDesc, b.Replies, b.Name)
		count(lostDesc, b.Lost, b.Name)
		count(bytesDesc, b.BytesTo, "forward", b.Name)
		count(bytesDesc, b.BytesFrom, "reply", b.Name)
		count(transitionsDesc, b.WentUp, b.Name, "up")
		count(transitionsDesc, b.WentDownTotal(), b.Name, "down")
		for cause, n := range b.WentDown {
			count(downsDesc, n, b.Name, membership.Cause(cause).String())
		}
		count(movesDesc, b.Moved, b.Name)
		up := 0.0
		if b.Up() {
			up = 1
		}
		gauge(upDesc, up, b.Name)
		to <- latency(b)
	}
}

// nextPlace is whose turn is next, counted from 1; 0: nobody's.
func (m metrics) nextPlace() int {
	if next, ok := m.Scheduler.Next(); ok {
		return next.Step.Place + 1
	}
	return 0
}

// latency is the histogram of one server.
func latency(b ledger.Backend) prometheus.Metric {
	buckets := make(map[float64]uint64, len(ledger.LatencyEdges))
	for _, edge := range ledger.LatencyEdges {
		buckets[edge.Seconds()] = b.RTT.Below(edge)
	}
	return prometheus.MustNewConstHistogram(latencyDesc, b.RTT.Count, b.RTT.Sum.Seconds(), buckets, b.Name)
}

// metricsHandler answers /metrics in the formats that Prometheus reads.
func metricsHandler(cfg Config) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics{cfg})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}
