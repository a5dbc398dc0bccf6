package page

import (
	"slices"
	"strings"
	"time"

	"udplab/services/balancer/internal/phrase"
	"udplab/services/balancer/internal/view"
)

// Texts is what the page says of a status, ready to be shown. The template
// writes it into the page, and the script puts that of each frame into the
// same places. Only times are left to the script: they are shown in the
// reader's time zone.
type Texts struct {
	Title string `json:"title"`
	Lead  string `json:"lead"`  // before whose turn is next
	Next  string `json:"next"`  // whose turn is next, or that no server is up
	Note  string `json:"note"`  // after it
	Place int    `json:"place"` // of the server whose turn is next, from 1; 0: no server is up
	Hub   string `json:"hub"`   // on the balancer's card
	Story string `json:"story"` // how the newest client's run joined the order
	Rows  []Row  `json:"rows"`  // by server, in turn order

	// The numbers at the foot of the page.
	Turns      string `json:"turns"`
	Received   string `json:"received"`
	Forwarded  string `json:"forwarded"`
	Dropped    string `json:"dropped"`
	Replied    string `json:"replied"`
	Sessions   string `json:"sessions"`
	Violations string `json:"violations"`
}

// Row is what the page says of one server: in the table, on its card and, if
// it is down, under the headline.
type Row struct {
	Place     int    `json:"-"` // from 1
	Name      string `json:"-"`
	Up        bool   `json:"up"`
	State     string `json:"state"` // up or down
	Since     moment `json:"since"`
	Down      string `json:"down"` // that it is
	Why       string `json:"why"`  // and what becomes of its turns
	Card      string `json:"card"`
	DownSince moment `json:"down_since"` // after it
	Flag      string `json:"flag"`       // on its card
	Turns     string `json:"turns"`
	Share     string `json:"share"` // of the turns of all servers
	Answered  string `json:"answered"`
	Silent    string `json:"silent"` // share of turns without an answer
	RTT       string `json:"rtt"`
	Seen      moment `json:"seen"`
	Addr      string `json:"addr"`
}

// moment is a time as the template shows it, and as the script gets it.
type moment struct{ Text, Stamp string }

func newMoment(t, now time.Time) moment {
	return moment{phrase.Moment(t, now), t.Format(time.RFC3339Nano)}
}

// MarshalText is what the script gets; "" for none.
func (m moment) MarshalText() ([]byte, error) { return []byte(m.Stamp), nil }

// NewTexts puts a status into words.
func NewTexts(s view.Status) Texts {
	t := Texts{
		Title: "no server is up", Next: "No server is up", Hub: "no server is up", Story: story(s.Run),
		Turns: phrase.Thousands(s.Turns), Received: phrase.Thousands(s.Received), Forwarded: phrase.Thousands(s.Forwarded),
		Dropped: phrase.Thousands(s.DroppedTotal), Replied: phrase.Thousands(s.Replied),
		Sessions: phrase.Thousands(s.Sessions), Violations: phrase.Thousands(s.OrderViolations),
	}
	all := uint64(0)
	for _, b := range s.Backends {
		all += b.Turns
	}
	for i, b := range s.Backends {
		row := newRow(s, b, all)
		row.Place = i + 1
		if s.Next != nil && *s.Next == b.Name {
			t.Place, t.Lead, t.Next, t.Title, row.Flag = row.Place, "Next turn", b.Name, b.Name+" is next", "next"
			if b.Trial {
				t.Note, t.Title, row.Flag = "(a try: is it back?)", t.Title+" (a try)", "next, a try"
			}
			t.Hub = "next is #" + phrase.Thousands(*s.NextTurn)
		}
		t.Rows = append(t.Rows, row)
	}
	t.Title += " – udplab balancer"
	return t
}

func newRow(s view.Status, b view.Backend, all uint64) Row {
	row := Row{
		Name: b.Name, Up: b.Up, State: "up", Since: newMoment(b.Since, s.At),
		Turns: phrase.Thousands(b.Turns), Share: phrase.Percent(b.Turns, all), Card: phrase.Count(b.Turns, "turn"),
		Answered: phrase.Thousands(b.Answered), Silent: phrase.Percent(b.Silent, b.Silent+b.Answered),
		RTT: "– / –", Seen: moment{Text: "never"}, Addr: b.Configured,
	}
	if !b.Up {
		row.State, row.Down, row.Why = "down", b.Name+" is down", why(s, b)
		row.Card, row.DownSince = "down since", row.Since
	}
	row.Since.Text += " (" + phrase.Ago(b.Since, s.At) + ")"
	if b.LastSeen != nil {
		row.Seen = newMoment(*b.LastSeen, s.At)
	}
	if b.RTTP50 != nil && b.RTTP95 != nil {
		row.RTT = phrase.Millis(*b.RTTP50) + " / " + phrase.Millis(*b.RTTP95) + " ms"
	}
	if b.Addr != nil {
		row.Addr = *b.Addr
	}
	return row
}

// why says why a server is down and what becomes of its turns.
func why(s view.Status, b view.Backend) string {
	var turns []string
	if s.Hold() || slices.ContainsFunc(s.Backends, func(b view.Backend) bool { return b.Up }) {
		turns = append(turns, phrase.TurnsOfDown(s.Hold()))
	}
	if b.Tried {
		turns = append(turns, "one turn every two seconds tries it")
	}
	if len(turns) == 0 {
		return b.Reason
	}
	sentence := strings.Join(turns, "; ")
	return b.Reason + ". " + strings.ToUpper(sentence[:1]) + sentence[1:] + "."
}

// story says how a client's run joined the order.
func story(run *view.Run) string {
	if run == nil {
		return ""
	}
	text := "A new client, " + run.Client + ", began at turn #" + phrase.Thousands(run.Turn) + " with " + run.Server
	if run.AfterServer != nil {
		text += ": the order went on after #" + phrase.Thousands(run.Turn-1) + ", " + *run.AfterServer
	}
	return text + "."
}
