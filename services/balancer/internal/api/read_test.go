package api

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestHealthAndReadiness(t *testing.T) {
	for _, test := range []struct {
		name          string
		change        func(b *balancer)
		health, ready string
	}{
		{"all is well", func(*balancer) {}, "200 alive\n", "200 ready\n"},
		{"one server is down", func(b *balancer) { b.down(0, "connection refused") }, "200 alive\n", "200 ready\n"},
		{"no server is up", func(b *balancer) { b.down(0, "x"); b.down(1, "x") }, "200 alive\n", "503 no server is up\n"},
		{"the data path is dead", func(b *balancer) { b.alive.Store(false) }, "503 the data path does not run\n", "503 the data path does not run\n"},
	} {
		b := newBalancer("server1", "server2")
		test.change(b)
		for path, want := range map[string]string{"/healthz": test.health, "/readyz": test.ready} {
			answer := b.get(path)
			if got := fmt.Sprint(answer.Code, " ", answer.Body); got != want {
				t.Errorf("%s: %s: %q, want %q", test.name, path, got, want)
			}
		}
	}
}

func TestStatusIsOneJSONSnapshot(t *testing.T) {
	for name, change := range map[string]func(b *balancer){
		"up":   func(*balancer) {},
		"down": func(b *balancer) { b.down(0, `said "no"`); b.down(1, "its name is gone") },
	} {
		b := newBalancer("server1", "server2")
		change(b)
		answer := b.get("/api/status")
		if got := answer.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
			t.Errorf("Content-Type %q", got)
		}
		golden(t, "status_"+name+".json", maskTimes(t, answer.Body.String()))
	}
}

// golden compares what was answered with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = "testdata/" + name
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s (-update writes it anew) differs from\n%s", name, got)
	}
}

var stamp = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)

// maskTimes checks every time in the JSON and puts "TIME" in its place.
func maskTimes(t *testing.T, text string) string {
	return stamp.ReplaceAllStringFunc(text, func(stamp string) string {
		var at time.Time
		mustDecode(t, stamp, &at)
		if time.Since(at) > time.Hour {
			t.Errorf("%s is no time of the last hour", stamp)
		}
		return `"TIME"`
	})
}

// While nobody watches, what happens is noted all the same, and a page that is
// opened later tells it.
func TestThePageAndItsTextsAreTheBalancers(t *testing.T) {
	b := newBalancer("server1", "server2", "server3")
	b.feed.look(time.Now())
	b.down(0, "connection refused")
	b.servers[0].State, b.servers[0].Trials, b.servers[0].Tried = membership.Trial, 1, true
	b.apply(time.Now())
	b.feed.look(time.Now())
	b.Scheduler.Take(make([]balancing.Turn, 1204)) // turns that are not recorded yet
	answer := b.get("/")
	if got := answer.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	for _, part := range []string{
		"<title data-text=\"title\">server3 is next – udplab balancer</title>",
		"one turn every two seconds tries it.", "server1 is down: connection refused; its turns go to the next server", "4 datagrams dropped: no server is up",
		`data-turn="3" title="turn #3, server3, asked by 127.0.0.1:4000"`, "… <span>1,204</span> more",
	} {
		if !strings.Contains(answer.Body.String(), part) {
			t.Errorf("the page does not say %q:\n%s", part, answer.Body)
		}
	}
	state := b.get("/page.json").Body.String()
	for _, part := range []string{"\"next\": \"server3\",\n    \"note\"", `"next": "server3",`, `tries it."`} {
		if !strings.Contains(state, part) {
			t.Errorf("for its script there is no %s in %s", part, state)
		}
	}
}

func TestTheLedgerIsToldInLinesOfJSON(t *testing.T) {
	b := newBalancer("server1", "server2")
	answer := b.get("/api/ledger")
	if got := answer.Header().Get("Content-Type"); got != "application/jsonl; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	want := []string{
		`{"turn":1,"at":"TIME","client":"127.0.0.1:4000","new_client":true,"server":"server1","place":1,"bytes":19,"outcome":"answered","rtt_ms":0.412,"rtt_exact":true,"reply":"PING 1 10:04:05.120 server1","reply_bytes":27}`,
		`{"turn":2,"at":"TIME","client":"127.0.0.1:4000","server":"server2","place":2,"bytes":19,"outcome":"silent","rtt_ms":null}`,
		`{"turn":3,"at":"TIME","client":"127.0.0.1:4000","server":"server1","place":1,"bytes":19,"outcome":"dropped","reason":"send_failed","rtt_ms":null}`,
	}
	restarted := append([]string{`{"restarted":true}`}, want...)
	for after, lines := range map[string][]string{
		"": want, "?after=0": want, "?after=1": want[1:], "?after=3": {""}, "?after=99": restarted, "?after=18446744073709551615": restarted,
	} {
		text := b.get("/api/ledger" + after).Body.String()
		if got, want := strings.TrimSpace(maskTimes(t, text)), strings.Join(lines, "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", after, got, want)
		}
	}
}

func TestTurnsThatTheLedgerHasForgottenAreReported(t *testing.T) {
	b := newBalancer("server1", "server2")
	b.more(time.Now(), ledger.Size+100, "127.0.0.1:4000") // 3 were there before
	lines := strings.Split(strings.TrimSpace(b.get("/api/ledger?after=5").Body.String()), "\n")
	if lines[0] != `{"missed":98}` || len(lines) != 1+ledger.Size {
		t.Errorf("%d lines, the first is %s", len(lines), lines[0])
	}
	if !strings.HasPrefix(lines[1], `{"turn":104,`) {
		t.Errorf("the second is %s", lines[1])
	}
}

func TestWhatAReaderSaysThatItKnows(t *testing.T) {
	started := time.Date(2026, 1, 2, 10, 4, 5, 123456789, time.UTC)
	const same, other = "started=2026-01-02T10:04:05.123456789Z", "started=2026-01-02T10:04:05Z"
	const noNumber = " is not the number of a turn: digits are, from 0 on"
	for _, test := range []struct{ query, id, want string }{
		{"", "", "none"},
		{"after=2", "", "2"},
		{"after=2", "3", "3"},
		{"after=2&" + same, "", "2"},
		{same, "", "none"},
		{"after=2&" + other, "", "none"},
		{other, "3", "none"},
		{"after=2&started=yesterday", "", `started: "yesterday" is not a time as /api/status writes it`},
		{same + "&" + other, "", "started is given 2 times"},
		{"after=1&after=2", "", "after is given 2 times"},
		{same + "&x=1", "", `"x" is not understood: a query may have after and started`},
		{"after=", "", `after: ""` + noNumber},
		{"after=-1", "", `after: "-1"` + noNumber},
		{"after=1.5", "", `after: "1.5"` + noNumber},
		{"after=+1", "", `after: " 1"` + noNumber},
		{"after=18446744073709551616", "", `after: "18446744073709551616"` + noNumber},
		{"after=a%0Ab", "", `after: "a\nb"` + noNumber},
		{"", "x", `Last-Event-ID: "x"` + noNumber},
		{"after=%zz", "", `the query cannot be read: invalid URL escape "%zz"`},
		{"after=1;x", "", "the query cannot be read: invalid semicolon separator in query"},
	} {
		after, err := lastKnown(test.query, test.id, started)
		got := "none"
		switch {
		case err != nil:
			got = err.Error()
		case after != nil:
			got = fmt.Sprint(*after)
		}
		if got != test.want {
			t.Errorf("%s, %q: %s, want %s", test.query, test.id, got, test.want)
		}
	}
	b := newBalancer("server1")
	for path, want := range map[string]string{"/api/ledger": "after", "/events": "after and started"} {
		answer := b.get(path + "?before=1")
		if text := answer.Body.String(); answer.Code != http.StatusBadRequest || text != `"before" is not understood: a query may have `+want+"\n" {
			t.Errorf("%s: %d %q", path, answer.Code, text)
		}
	}
}

// Whatever a reader says that it knows, it is read as it stands or refused in
// one line.
func FuzzLastKnown(f *testing.F) {
	started := time.Date(2026, 1, 2, 10, 4, 5, 123456789, time.UTC)
	for _, seed := range [][2]string{
		{"", ""}, {"after=0", ""}, {"after=17", ""}, {"after=-1", ""}, {"after=18446744073709551616", ""}, {"after=1&after=2", ""}, {"x", ""}, {"after=%zz", ""}, {"after=%00", ""}, {";", ""},
		{"started=2026-01-02T10:04:05.123456789Z&after=1", ""}, {"started=yesterday", "1"},
		{"", "17"}, {"", "-1"}, {"after=1", "18446744073709551615"}, {"", "0x10"}, {"", " 1"}, {"", "١"}, {"", "1\x00"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, query, id string) {
		after, err := lastKnown(query, id, started)
		switch {
		case err != nil && strings.ContainsAny(err.Error(), "\r\n"):
			t.Errorf("more than one line: %q", err)
		case err != nil || after == nil:
		case id != "" && strings.TrimLeft(id, "0") != strings.TrimLeft(fmt.Sprint(*after), "0"):
			t.Errorf("%q was read as %d", id, *after)
		case id == "" && !strings.Contains(query, "after"):
			t.Errorf("%q was read as %d", query, *after)
		}
	})
}

func TestTurnsOfAnEarlierRunAreReportedBeforeThisOneHasHadAny(t *testing.T) {
	b := newBalancer("server1")
	b.Ledger = ledger.New(time.Second, time.Now())
	b.Ledger.Resume(17)
	for after, want := range map[string]string{"0": `{"missed":17}`, "12": `{"missed":5}`, "17": "", "18": "{\"restarted\":true}\n{\"missed\":17}"} {
		if got := strings.TrimSpace(b.get("/api/ledger?after=" + after).Body.String()); got != want {
			t.Errorf("after %s: %q, want %q", after, got, want)
		}
	}
}
