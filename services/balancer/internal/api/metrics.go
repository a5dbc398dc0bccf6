package api

import (
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

// metrics reads everything from the ledger when it is asked, in one snapshot.
// No label carries a client's address: there may be any number of them.
type metrics struct{ Config }

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, to) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	sender := func(kind prometheus.ValueType) func(name, help string, n uint64, labels ...string) {
		return func(name, help string, n uint64, labels ...string) { // name, value, name, value, …
			var names, values []string
			for label := range slices.Chunk(labels, 2) {
				names, values = append(names, label[0]), append(values, label[1])
			}
			to <- prometheus.MustNewConstMetric(prometheus.NewDesc("balancer_"+name, help, names, nil), kind, float64(n), values...)
		}
	}
	count, gauge := sender(prometheus.CounterValue), sender(prometheus.GaugeValue)
	s, nextPlace := m.Ledger.Snapshot(time.Now()), uint64(0)
	if next, ok := m.Scheduler.Next(); ok {
		nextPlace = uint64(next.Step.Place) + 1
	}
	count("datagrams_received_total", "Datagrams that came from clients; always forwarded plus dropped.", s.Received)
	count("replies_refused_total", "Replies that went out and met nobody: the client's machine said so by ICMP. 0 where the system does not say.", s.RepliesRefused)
	count("kernel_drops_total", "Datagrams that the kernel dropped at the listener because they came faster than they were taken; 0 where it does not say.", m.KernelDrops())
	count("turns_total", "Turns taken since the first start, over restarts if there is a state file.", s.Turns)
	count("order_violations_total", "Turns out of place; never anything but 0.", s.OrderViolations)
	count("sessions_created_total", "Sessions opened.", s.SessionsOpened)
	gauge("sessions", "Clients that have a session now.", s.Sessions)
	gauge("next_backend", "Whose turn is next: its place in turn order counted from 1, or 0 while no server is up.", nextPlace)
	gauge("build_info", "1, labelled with what runs.", 1, "version", m.Facts.Version, "goversion", runtime.Version(), "datapath", m.Facts.DataPath)
	for reason, n := range s.SessionsClosed {
		count("session_evictions_total", "Sessions ended, by reason: idle, evicted for a new client, or stopped with the balancer.", n, "reason", ledger.CloseReason(reason).String())
	}
	for d := ledger.Forwarded + 1; d < ledger.Dispositions; d++ {
		count("dropped_total", "Datagrams that came and were not forwarded, by reason.", s.Dropped[d], "reason", d.String())
	}
	const bytes, transitions = "Payload bytes: forward is client to server, reply is server to client.", "How often the server went up or down."
	for _, b := range s.Backends {
		count("datagrams_forwarded_total", "Datagrams that the kernel took for a server.", b.Forwarded, "backend", b.Name)
		count("replies_total", "Replies that went out to clients.", b.Replies, "backend", b.Name)
		count("replies_lost_total", "Replies that came and that the system would not send to the client.", b.Lost, "backend", b.Name)
		count("bytes_total", bytes, b.BytesTo, "direction", "forward", "backend", b.Name)
		count("bytes_total", bytes, b.BytesFrom, "direction", "reply", "backend", b.Name)
		count("backend_transitions_total", transitions, b.WentUp, "backend", b.Name, "to", "up")
		count("backend_transitions_total", transitions, b.WentDownTotal(), "backend", b.Name, "to", "down")
		count("backend_moves_total", "How often the server's name led to another address.", b.Moved, "backend", b.Name)
		for cause, n := range b.WentDown {
			count("backend_downs_total", "How often the server went down, by cause: refused, probes unanswered, name gone, or an address where it cannot be served.",
				n, "backend", b.Name, "cause", membership.Cause(cause).String())
		}
		up := uint64(0)
		if b.Up() {
			up = 1
		}
		gauge("backend_up", "1 while the server is up, else 0.", up, "backend", b.Name)
		to <- latency(b)
	}
}

var latencyDesc = prometheus.NewDesc("balancer_reply_latency_seconds",
	"Round-trip time from a client's last datagram to the server to its first reply: exact for clients that wait for each answer.", []string{"backend"}, nil)

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
