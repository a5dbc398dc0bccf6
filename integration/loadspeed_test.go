package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// BenchmarkLoad is what `client load` gets out of the lab as people start it:
// three servers, the balancer and the client, each a process with its usual
// settings, and the log of servers and balancer as people read it. Each round is
// a second at one server directly and a second through the balancer, and the
// ratio is that of the medians, so that it says something also on a machine that
// has other things to do. It may be above 1: directly, one server does the work
// of three.
func BenchmarkLoad(b *testing.B) {
	var servers, backends []string
	for n := range 3 {
		name := fmt.Sprintf("server%d", n+1)
		servers = append(servers, listen(b, "pingserver", lab.Env{"PINGSERVER_NAME": name, "PINGSERVER_LISTEN": "127.0.0.1:0"}))
		backends = append(backends, name+"="+servers[n])
	}
	balancer := listen(b, "balancer", lab.Env{
		"BALANCER_LISTEN": "127.0.0.1:0", "BALANCER_HTTP": "127.0.0.1:0", "BALANCER_BACKENDS": strings.Join(backends, ","),
	})
	var direct, balanced []float64
	for b.Loop() {
		direct = append(direct, loadOnce(b, servers[0]))
		balanced = append(balanced, loadOnce(b, balancer))
	}
	b.ReportMetric(0, "ns/op") // a round is no unit of anything
	b.ReportMetric(middle(direct), "direct-roundtrips/s")
	b.ReportMetric(middle(balanced), "roundtrips/s")
	b.ReportMetric(middle(balanced)/middle(direct), "ratio")
	b.ReportMetric(float64(len(balanced)), "rounds")
}

// middle is the median.
func middle(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

var listensOn = regexp.MustCompile(`listens on ([\d.]+:\d+)`)

// listen starts a program that logs for people until the benchmark ends, and
// returns where it listens. Somebody reads the log to its end.
func listen(b *testing.B, program string, env lab.Env) (addr string) {
	b.Helper()
	env["LOG_FORMAT"] = "pretty"
	cmd := labtest.Programs(b).Command(b.Context(), program, env)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	read := make(chan struct{})
	b.Cleanup(func() { // the context has ended by now
		<-read
		_ = cmd.Wait() // it was told to end
	})
	log := bufio.NewReader(stdout)
	first, err := log.ReadString('\n')
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, log)
	}()
	found := listensOn.FindStringSubmatch(first)
	if found == nil {
		b.Fatalf("%s does not say where it listens, but %q (%v)", program, first, err)
	}
	return found[1]
}

// loadOnce is the answers a second of a load of one second.
func loadOnce(b *testing.B, target string) float64 {
	b.Helper()
	exit, err := labtest.Programs(b).Run(b.Context(), "client", lab.Env{}, "load", "--duration", "1s", "--json", "--quiet", target)
	if err != nil || exit.Code != 0 {
		b.Fatalf("exit code %d, %v\n%s", exit.Code, err, exit.Stderr)
	}
	var summary struct {
		PerSecond float64 `json:"per_second"`
	}
	if err := json.Unmarshal([]byte(exit.Stdout), &summary); err != nil || summary.PerSecond == 0 {
		b.Fatalf("%v in %s", err, exit.Stdout)
	}
	return summary.PerSecond
}
