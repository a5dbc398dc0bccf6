package page

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/view"
)

var now = time.Date(2026, 3, 2, 10, 4, 5, 0, time.UTC)

// newStatus is a status of three servers, of which the second is down.
func newStatus() view.Status {
	p50, p95, seen, addr := 0.4, 0.4069, now.Add(-time.Second), "127.0.0.1:2526"
	return view.Status{
		Facts: view.Facts{Listen: "[::]:8888", WhenDown: "skip", AnswerTimeout: 1000}, At: now, Started: now.Add(-time.Hour),
		Next: new("server1"), NextTurn: new(uint64(1205)), Run: &view.Run{Client: "[fd00::1]:4000", Turn: 1021, Server: "server3", AfterServer: new("server2")},
		Received: 1207, Forwarded: 1202, DroppedTotal: 5, Replied: 1201, Turns: 1204, Sessions: 1,
		Backends: []view.Backend{
			{Name: "server1", Up: true, Since: now.Add(-time.Hour), Turns: 401, Answered: 401, RTTP50: &p50, RTTP95: &p95, LastSeen: &seen, Addr: &addr},
			{Name: "server2", Since: now.Add(-3 * time.Second), Reason: "connection refused", Turns: 401, Silent: 401, Configured: "server2.lab:2526"},
			{Name: "server3", Up: true, Since: now.Add(-time.Hour), Turns: 402},
		},
	}
}

// read checks that a page is well-formed and that its policy forbids nothing
// in it, and returns its text, table rows as lines with | between the cells.
func read(t *testing.T, p Page) string {
	t.Helper()
	var html, text strings.Builder
	if err := p.Write(&html); err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(strings.NewReader(html.String()))
	decoder.Entity = xml.HTMLEntity
	inScript := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return strings.NewReplacer("|\n", "|", "\u00a0", " ").Replace(text.String())
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v\n%s", err, html.String())
		}
		switch token := token.(type) {
		case xml.StartElement:
			inScript = token.Name.Local == "script"
			if inScript && !slices.ContainsFunc(token.Attr, func(a xml.Attr) bool { return a.Name.Local == "src" }) {
				t.Error("there is a script that is no file, which the policy forbids")
			}
			for _, a := range token.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "style" || strings.Contains(a.Value, "//") {
					t.Errorf("attribute %s=%q, which the policy forbids", a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			if inScript {
				t.Errorf("a script in the page: %s", token)
			}
			text.Write(token)
		case xml.EndElement:
			inScript = false
			if name := token.Name.Local; name == "td" || name == "th" {
				text.WriteString("|")
			}
		}
	}
}

func TestThePageIsReadableWithoutItsScripts(t *testing.T) {
	client := netip.MustParseAddrPort("127.0.0.1:4000")
	var tape []view.Turn
	for i, outcome := range []ledger.Outcome{ledger.Answered, ledger.Silent, ledger.Dropped} {
		tape = append(tape, view.Turn{Turn: uint64(i + 1), Place: i + 1, NewClient: i == 0, Server: "server1", Client: client, Outcome: outcome})
	}
	news := []view.Item{{At: now, Kind: "up", Text: "server1 is up"}, {At: now, Kind: "down", Text: "server2 is down"}}

	nobody := newStatus()
	nobody.Next, nobody.NextTurn, nobody.Run = nil, nil, nil

	trial := newStatus()
	trial.Run = &view.Run{Client: "127.0.0.1:4000", Turn: 1, Server: "server1"}
	trial.Next, trial.Backends[1].Trial, trial.Backends[1].Tried = &trial.Backends[1].Name, true, true

	odd := newStatus()
	odd.Backends[0].Name, odd.Backends[1].Reason = `<script>alert('x')</script>&"`, `<b onclick="x">`
	odd.Next = &odd.Backends[0].Name

	tests := []struct {
		name string
		page Page
		want []string
	}{
		{"a server is down", New(newStatus(), tape, news), []string{
			"server1 is next – udplab balancer\n", "Next turn 1 server1 \n",
			"\n✖ server2 is down since 10:04:02 (3 s ago): connection refused. Its turns go to the next server.\n",
			"\nnew client: 1\n2✗, no answer\n3⊘, not sent\n… 1,201 more turns not shown\nnext: 1next\n",
			"\nA new client, [fd00::1]:4000, began at turn #1,021 with server3: the order went on after #1,020, server2.\n",
			"\n1 server1|up since 09:04:05 (1 h ago)|401|33.3 %|401|0.0 %|0.40 / 0.41 ms|10:04:04|127.0.0.1:2526|",
			"\n2 server2|down since 10:04:02 (3 s ago)|401|33.3 %|0|100.0 %|– / –|never|server2.lab:2526|",
			"\n10:04:05 server2 is down\n10:04:05 server1 is up\n",
			"received1,207", "forwarded1,202", "dropped5", "replied1,201", "order violations0", "Times are in the balancer’s time zone, UTC.",
		}},
		{"no server is up", New(nobody, nil, nil), []string{"no server is up – udplab balancer\n", " No server is up ", "Nothing yet"}},
		{"a try", New(trial, nil, nil), []string{
			"\nA new client, 127.0.0.1:4000, began at turn #1 with server1.\n", "server2 is next (a try) – udplab balancer\n", "Next turn 2 server2 (a try: is it back?)\n",
			": connection refused. Its turns go to the next server; one turn every two seconds tries it.\n",
		}},
		{"odd names", New(odd, nil, nil), []string{
			`Next turn 1 <script>alert('x')</script>&" `, `1 <script>alert('x')</script>&"|`, `: <b onclick="x">. Its turns`,
		}},
	}
	for _, test := range tests {
		text := read(t, test.page)
		for _, part := range test.want {
			if !strings.Contains(text, part) {
				t.Errorf("%s: the page does not say %q:\n%s", test.name, part, text)
			}
		}
	}
}

func TestWhatBecomesOfTheTurnsOfAServerThatIsDown(t *testing.T) {
	for _, test := range []struct {
		whenDown       string
		otherUp, tried bool
		want           string
	}{
		{"skip", true, false, "refused. Its turns go to the next server."},
		{"skip", true, true, "refused. Its turns go to the next server; one turn every two seconds tries it."},
		{"hold", true, false, "refused. Its turns are kept and lost."},
		{"hold", false, true, "refused. Its turns are kept and lost; one turn every two seconds tries it."},
		{"skip", false, false, "refused"},
		{"skip", false, true, "refused. One turn every two seconds tries it."},
	} {
		s := newStatus()
		s.WhenDown = test.whenDown
		s.Backends = []view.Backend{{Name: "server1", Reason: "refused", Tried: test.tried}, {Name: "server2", Up: test.otherUp}}
		if got := NewTexts(s).Rows[0].Why; got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// The page works where there is no other network, and its policy forbids
// anything from elsewhere.
func TestThePagesFilesAreServedAndLoadNothingFromElsewhere(t *testing.T) {
	mux := http.NewServeMux()
	AddFiles(mux)
	entries, err := static.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, entry := range entries {
		content, err := static.ReadFile("static/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", "url(", "@import", "@font-face", "innerHTML", "eval("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", entry.Name(), bad)
			}
		}
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequest("GET", "/"+entry.Name(), nil))
		switch kind := kinds[path.Ext(entry.Name())]; {
		case kind == "" && answer.Code != http.StatusNotFound:
			t.Errorf("%s: %d", entry.Name(), answer.Code)
		case kind != "" && (answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != kind || answer.Body.String() != string(content)):
			t.Errorf("%s: %d %v", entry.Name(), answer.Code, answer.Header())
		}
	}
}
