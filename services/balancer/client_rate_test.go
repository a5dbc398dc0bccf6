package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTheClientRateIsObeyedAndTold(t *testing.T) {
	const sent, limit = 100, 3
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1"), "BALANCER_CLIENT_RATE="+fmt.Sprint(limit))
	conn, err := net.Dial("udp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	for range sent {
		if _, err := conn.Write([]byte("as fast as I can")); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); !strings.Contains(get(t, r.page+"/api/status"), fmt.Sprintf(`"received": %d`, sent)); {
		if time.Now().After(deadline) {
			t.Fatal("not all datagrams are received")
		}
	}
	metrics := get(t, r.page+"/metrics")
	last := r.end()
	refused, _ := last[len(last)-1]["dropped_client_rate"].(float64)
	if least := sent - limit*(1+time.Since(began).Seconds()); refused > sent-limit || refused < least {
		t.Errorf("%v refused of %d, want %.1f to %d", refused, sent, least, sent-limit)
	}
	if want := fmt.Sprintf(`balancer_dropped_total{reason="client_rate"} %v`+"\n", refused); !strings.Contains(metrics, want) {
		t.Errorf("the metrics do not say %s", want)
	}
	if want := fmt.Sprintf("(client_rate %v)", refused); !strings.Contains(last[len(last)-1].text("msg"), want) {
		t.Errorf("the summary does not say %s: %s", want, last[len(last)-1].text("msg"))
	}
}
