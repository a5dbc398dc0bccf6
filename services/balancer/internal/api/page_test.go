package api

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
)

// readPage checks that the page is well-formed and returns its text, table
// rows as lines with | between the cells.
func readPage(t *testing.T, page string) string {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(page))
	decoder.Entity = xml.HTMLEntity
	var text strings.Builder
	inScript := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v\n%s", err, page)
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

func TestThePageIsATableWithoutItsScripts(t *testing.T) {
	b := newBalancer("server1", "server2", "server3")
	b.down(1, "connection refused")
	answer := b.ask("GET", "localhost", "/")
	if got := answer.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	text := readPage(t, answer.Body.String())
	since := b.Ledger.Snapshot(time.Now()).Backends
	ago := func(t time.Time) string {
		at := view{Status: Status{At: time.Now()}}
		return clock(t) + " (" + at.Ago(t) + ")"
	}
	for _, part := range []string{
		"Next turn 1 server1\n",
		"\n✖ server2 is down since " + ago(since[1].Since) + ": connection refused. Its turns go to the next server.\n",
		"\nnew client: 1\n2✗, no answer\n3⊘, not sent\nnext: 1next\n",
		"\nA new client, 127.0.0.1:4000, began at turn #1 with server1.\n",
		"\n1 server1|up since " + ago(since[0].Since) + "|1|33.3 %|1|0.0 %|0.40 / 0.41 ms|" + clock(since[0].LastSeen) + "|127.0.0.1:2526|\n",
		"\n2 server2|✖ down since " + ago(since[1].Since) + "|1|33.3 %|0|100.0 %|– / –|never|server2.lab:2526|\n",
		"\n3 server3|up since",
		"received7", "forwarded2", "dropped5", "replied1", "order violations0",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q:\n%s", part, text)
		}
	}
	if !strings.Contains(answer.Body.String(), `<noscript><meta http-equiv="refresh" content="2" /></noscript>`) {
		t.Error("the page does not renew itself without its scripts")
	}
}

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

func TestThePageSaysThatNoServerIsUp(t *testing.T) {
	b := newBalancer("server1")
	b.down(0, "connection refused")
	text := readPage(t, b.ask("GET", "localhost", "/").Body.String())
	if !strings.Contains(text, "\nNo server is up\n") || strings.Contains(text, "Next turn") {
		t.Error(text)
	}
}

func TestThePageShowsOddNamesAsTheyAre(t *testing.T) {
	odd := `<script>alert('x')</script>&"`
	b := newBalancer(odd, "server2")
	b.down(1, `<b onclick="x">`)
	b.Rotation.Resume(0, 0)
	text := readPage(t, b.ask("GET", "localhost", "/").Body.String())
	for _, part := range []string{"Next turn 1 " + odd + "\n", "1 " + odd + "|", `: <b onclick="x">. Its turns`} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q:\n%s", part, text)
		}
	}
}

func TestThePagesFilesAreServedWithTheirTypes(t *testing.T) {
	b := newBalancer("server1")
	for name, kind := range map[string]string{
		"/style.css": "text/css; charset=utf-8", "/main.js": "text/javascript; charset=utf-8", "/icon.svg": "image/svg+xml",
	} {
		answer := b.ask("GET", "localhost", name)
		if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != kind || answer.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, answer.Code, answer.Header())
		}
	}
}

// The page works where there is no other network, and its policy forbids
// anything from elsewhere.
func TestThePagesFilesLoadNothingFromElsewhere(t *testing.T) {
	entries, err := pageFiles.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := pageFiles.ReadFile("static/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", "url(", "@import", "@font-face", "innerHTML", "eval("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", entry.Name(), bad)
			}
		}
	}
}

// Whose turn is next stands in four places, and what stands before it on the
// tape is in order, also when turns have been taken that are not recorded yet.
func TestThePageIsOfOneMindAboutWhoseTurnIsNext(t *testing.T) {
	b := newBalancer("server1", "server2", "server3")
	b.Rotation.Take(make([]balancing.Turn, 1204))
	page := b.ask("GET", "localhost", "/").Body.String()
	text := readPage(t, page)
	for _, part := range []string{"server2 is next – udplab", "Next turn 2 server2\n", "3⊘, not sent\n… 1,204 more turns not shown\nnext: 2next\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q:\n%s", part, text)
		}
	}
	if row := `<tr role="row" class="turn"><th role="rowheader" scope="row"><b class="badge c2">2</b>`; strings.Count(page, `class="turn"`) != 1 || !strings.Contains(page, row) {
		t.Errorf("the row of the next turn is not server2's:\n%s", page)
	}
}

func TestThePageTellsATryFromATurn(t *testing.T) {
	b := newBalancer("server1", "server2", "server3")
	b.down(0, "connection refused")
	b.Rotation.Set(0, balancing.Trial)
	text := readPage(t, b.ask("GET", "localhost", "/").Body.String())
	for _, part := range []string{
		"server1 is next (a try) – udplab", "Next turn 1 server1 (a try: is it back?)\n",
		": connection refused. Its turns go to the next server; one turn every two seconds tries it.\n",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q:\n%s", part, text)
		}
	}
}

func TestWhatBecomesOfTheTurnsOfAServerThatIsDown(t *testing.T) {
	tests := []struct {
		name        string
		whenDown    balancing.WhenDown
		otherUp, on bool
		want        string
	}{
		{"passed over", balancing.Skip, true, false, "Its turns go to the next server."},
		{"passed over, and tried", balancing.Skip, true, true, "Its turns go to the next server; one turn every two seconds tries it."},
		{"kept", balancing.Hold, true, false, "Its turns are kept and lost."},
		{"nobody is up", balancing.Skip, false, false, ""},
		{"nobody is up, and it is tried", balancing.Hold, false, true, "One turn every two seconds tries it."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := BackendStatus{Name: "server1", Trial: test.on}
			v := view{Status: Status{Facts: Facts{WhenDown: test.whenDown.String()}, Backends: []BackendStatus{b, {Name: "server2", Up: test.otherUp}}}}
			if got := v.Disposition(b); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestTheStoryOfARun(t *testing.T) {
	before := "server2"
	for _, test := range []struct {
		run  *Run
		want string
	}{
		{nil, ""},
		{&Run{Client: "[fd00::1]:41730", Turn: 1, Server: "server1"}, "A new client, [fd00::1]:41730, began at turn #1 with server1."},
		{&Run{Client: "172.30.7.130:41730", Turn: 1021, Server: "server3", AfterServer: &before},
			"A new client, 172.30.7.130:41730, began at turn #1,021 with server3: the order went on after #1,020, server2."},
	} {
		if got := (view{Status: Status{Run: test.run}}).Story(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestTimesAreReadable(t *testing.T) {
	now := time.Date(2026, 3, 2, 0, 10, 0, 0, time.UTC)
	tests := []struct {
		before       time.Duration
		moment, past string
	}{
		{-time.Second, "00:10:01", "0 s ago"}, // by another clock
		{59 * time.Second, "00:09:01", "59 s ago"},
		{2*time.Minute + 59*time.Second, "00:07:01", "2 min ago"},
		{20 * time.Minute, "1 Mar 23:50:00", "20 min ago"},
		{47 * time.Hour, "28 Feb 01:10:00", "47 h ago"},
		{365 * 24 * time.Hour, "2 Mar 2025 00:10:00", "365 days ago"},
	}
	v := view{Status: Status{At: now}}
	for _, test := range tests {
		at := now.Add(-test.before)
		if got := v.Moment(at); got.Text != test.moment || got.Stamp != at.Format(time.RFC3339Nano) {
			t.Errorf("%v before: %+v, want %s", test.before, got, test.moment)
		}
		if got := strings.ReplaceAll(v.Ago(at), "\u00a0", " "); got != test.past {
			t.Errorf("%v before: %s, want %s", test.before, got, test.past)
		}
	}
}
