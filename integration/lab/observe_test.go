package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestABalancerIsReadOverHTTP(t *testing.T) {
	answers := map[string]string{
		"/api/status": `{"next":null,"received":3,"forwarded":2,"dropped_total":1,"dropped":{"loop":1},"turns":2,
			"backends":[{"name":"server1","addr":"127.0.0.1:2526","up":true,"turns":2,"forwarded":2},{"name":"server2","addr":null}]}`,
		"/api/ledger": `{"restarted":true}` + "\n" + `{"missed":7}` + "\n" +
			`{"turn":8,"client":"127.0.0.1:9","server":"server2","place":2,"outcome":"answered","reply":"PING","reply_bytes":4,"rtt_exact":true}`,
		"/metrics": "# TYPE a counter\na{b=\"c\"} 12\nab 3\n",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, found := answers[r.URL.Path]
		if !found || r.URL.RawQuery != "" && r.URL.RawQuery != "after=5" {
			http.NotFound(w, r)
		}
		w.Write([]byte(answer))
	}))
	defer server.Close()

	status, err := ReadStatus(t.Context(), server.URL)
	at := netip.MustParseAddrPort("127.0.0.1:2526")
	wantStatus := Status{
		Received: 3, Forwarded: 2, DroppedTotal: 1, Dropped: map[string]uint64{"loop": 1}, Turns: 2,
		Backends: []Backend{{Name: "server1", Addr: &at, Up: true, Turns: 2, Forwarded: 2}, {Name: "server2"}},
	}
	addresses := cmpopts.EquateComparable(netip.AddrPort{})
	if diff := cmp.Diff(wantStatus, status, addresses); err != nil || diff != "" {
		t.Errorf("ReadStatus: %v, -want +got\n%s", err, diff)
	}
	if !status.Backend("server1").Up || status.Backend("server2").Up || status.Backend("nobody").Up {
		t.Error("want server1 up and no other")
	}

	ledger, err := ReadLedger(t.Context(), server.URL, 5)
	wantLedger := Ledger{Missed: 7, Restarted: true, Turns: []Turn{{
		Turn: 8, Client: netip.MustParseAddrPort("127.0.0.1:9"), Server: "server2", Place: 2,
		Outcome: "answered", Exact: true, Reply: "PING", ReplyBytes: 4,
	}}}
	if diff := cmp.Diff(wantLedger, ledger, addresses); err != nil || diff != "" {
		t.Errorf("ReadLedger: %v, -want +got\n%s", err, diff)
	}

	if value, err := ReadMetric(t.Context(), server.URL, `a{b="c"}`); err != nil || value != 12 {
		t.Errorf("ReadMetric = %v, %v, want 12", value, err)
	}
	if _, err := ReadMetric(t.Context(), server.URL, "a"); err == nil {
		t.Error("ReadMetric returned a metric that is not there")
	}
	if _, err := ReadStatus(t.Context(), server.URL+"/nowhere"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("ReadStatus of a page that is not there: %v, want its code", err)
	}
}

func TestWhatDoesNotAddUpIsNamed(t *testing.T) {
	good := Status{
		Received: 6, Forwarded: 3, DroppedTotal: 3, Dropped: map[string]uint64{"loop": 1, "held": 2},
		Backends: []Backend{{Turns: 3, Forwarded: 3}, {Turns: 2}},
	}
	if found := good.Unbalanced(); found != nil {
		t.Errorf("%q", found)
	}
	for want, spoil := range map[string]func(*Status){
		"7 received":          func(s *Status) { s.Received++ },
		"3 took a turn":       func(s *Status) { s.Dropped = nil },
		"1 turns out":         func(s *Status) { s.OrderViolations++ },
		"servers had 5 and 4": func(s *Status) { s.Backends = []Backend{{Turns: 3, Forwarded: 3}, {Turns: 2, Forwarded: 1}} },
	} {
		s := good
		spoil(&s)
		if found := s.Unbalanced(); len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("Unbalanced = %q, want one with %q", found, want)
		}
	}
}

func TestUntilReturnsTheLastErrorThatSaysSomething(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	missing := errors.New("missing")
	calls := 0
	err := Until(ctx, func(ctx context.Context) error {
		if calls++; calls == 2 {
			cancel()
			return ctx.Err()
		}
		return missing
	})
	if calls != 2 || !errors.Is(err, missing) || !errors.Is(err, context.Canceled) {
		t.Errorf("after %d calls: %v, want both errors after 2", calls, err)
	}
	if err := Until(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestAFreePortIsGivenOnce(t *testing.T) {
	given := map[string]bool{}
	for _, network := range []string{"udp", "tcp"} {
		for range 20 {
			port, err := FreePort(network)
			if name := network + port; err != nil || given[name] {
				t.Fatalf("FreePort = %s, %v, and before that %v", port, err, given)
			} else {
				given[name] = true
			}
		}
	}
	if name := rand.Text(); !Reserve(name) || Reserve(name) {
		t.Error("want a name reserved once")
	}
}
