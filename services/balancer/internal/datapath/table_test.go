package datapath

import (
	"net/netip"
	"testing"
	"time"
)

// book is a table whose clients are numbers and whose clock shows seconds.
type book struct {
	*table[int]
	shared *places
}

func newBook(n int) book {
	shared := newPlaces(n)
	return book{newTable[int](shared), shared}
}

func second(n float64) time.Time { return time.Unix(0, int64(n*1e9)) }

func number(n int) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), uint16(n)) }

func (b book) admitAt(n int, at float64) *entry[int] {
	return b.admit(number(n), second(at), func(e *entry[int]) { b.remove(e) })
}

func TestTableKeepsSessionsByHowLongTheyHaveBeenIdle(t *testing.T) {
	b := newBook(3)
	if b.longestIdle() != nil {
		t.Error("an empty table has a longest idle session")
	}
	one, two, three := b.admitAt(1, 0), b.admitAt(2, 1), b.admitAt(3, 2)
	if b.longestIdle() != one || b.find(number(2)) != two || b.find(number(4)) != nil {
		t.Error("after three were admitted")
	}
	b.renew(one, second(3))
	if b.longestIdle() != two {
		t.Error("a renewed session is still the longest idle")
	}
	b.heard(two, second(4))
	if b.longestIdle() != three {
		t.Error("a session whose client was heard is still the longest idle")
	}
	b.remove(three)
	b.renew(three, second(9)) // its last reply came just after it was ended
	b.remove(three)
	if b.longestIdle() != one || b.shared.free.Load() != 1 {
		t.Error("ending a session twice did something")
	}
	b.remove(one)
	b.remove(two)
	if b.longestIdle() != nil || len(b.byClient) != 0 || b.shared.free.Load() != 3 {
		t.Error("not empty after all were removed")
	}
}

func TestWhoGivesWayToANewClient(t *testing.T) {
	type use struct {
		client int
		at     float64
		reply  bool
	}
	for _, tt := range []struct {
		name  string
		uses  []use // of three places
		at    float64
		gone  int // who gives way; 0: nobody
		after time.Duration
	}{
		{"nobody who has just been heard", []use{{1, 0, false}, {2, 0.5, false}, {3, 0.5, false}}, 0.5, 0, 500*time.Millisecond + 1},
		{"not one that has been idle for a second", []use{{1, 0, false}, {2, 0.5, false}, {3, 0.5, false}}, 1, 0, 1},
		{"the longest idle after that", []use{{1, 0, false}, {2, 0.5, false}, {3, 0.5, false}}, 1.1, 1, 0},
		{"a reply counts as use", []use{{1, 0, false}, {2, 0, false}, {3, 0, false}, {1, 1, true}}, 1.5, 2, 0},
		{"regulars like others", []use{{1, 0, false}, {1, 2, false}, {2, 2, false}, {2, 4, false}, {3, 4, false}}, 4.1, 1, 0},
		{"in a flood a newcomer rather than a regular that has been idle for longer", []use{{1, 0, false}, {1, 2, false}, {2, 9, false}, {3, 9.5, false}}, 10.1, 2, 0},
		{"in a flood nobody, if no newcomer has been idle for a second", []use{{1, 0, false}, {1, 9, false}, {2, 10, false}, {3, 10, false}}, 11, 0, 1},
		{"but a regular after ten seconds", []use{{1, 0, false}, {1, 2, false}, {2, 12, false}, {3, 12, false}}, 12.1, 1, 0},
		{"not before", []use{{1, 0, false}, {1, 2, false}, {2, 11.5, false}, {3, 11.5, false}}, 12, 0, 1},
		{"one that was only answered is no regular", []use{{1, 0, false}, {1, 2, true}, {2, 3, false}, {3, 3, false}}, 3.3, 1, 0},
		{"one that was heard often in one second is no regular", []use{{1, 0, false}, {1, 0.5, false}, {1, 1, false}, {2, 1, false}, {3, 1.5, false}}, 2.1, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBook(3)
			for _, u := range tt.uses {
				switch e := b.find(number(u.client)); {
				case e == nil:
					b.admitAt(u.client, u.at)
				case u.reply:
					b.renew(e, second(u.at))
				default:
					b.heard(e, second(u.at))
				}
			}
			if _, wait := b.givesWay(second(tt.at)); wait != tt.after {
				t.Errorf("somebody gives way in %v, want %v", wait, tt.after)
			}
			if e := b.admitAt(4, tt.at); (e != nil) != (tt.gone != 0) {
				t.Errorf("admitted: %v", e != nil)
			}
			for _, client := range []int{1, 2, 3} {
				if gone := b.find(number(client)) == nil; gone != (client == tt.gone) {
					t.Errorf("client %d is gone: %v", client, gone)
				}
			}
		})
	}
}

func TestTablesShareTheirPlaces(t *testing.T) {
	one := newBook(1)
	other := book{newTable[int](one.shared), one.shared}
	e := one.admitAt(1, 0)
	if other.admitAt(2, 9) != nil {
		t.Error("a table found a place that another's session has")
	}
	one.remove(e)
	if other.admitAt(2, 9) == nil {
		t.Error("a place that one table gave was not there for another")
	}
}

// Whatever happens to a table, it is what a list of who was used and heard when
// would be.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x10, 0x21, 0x32, 0xff, 0x04})
	f.Add([]byte{0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x40, 0x41})
	f.Fuzz(func(t *testing.T, steps []byte) {
		const places = 4
		type record struct {
			since, used time.Time
			regular     bool
		}
		b, model := newBook(places), map[netip.AddrPort]record{}
		now := second(0)
		for _, step := range steps { // two bits of time, three of client, three of deed
			now = now.Add([]time.Duration{0, 300 * time.Millisecond, 1100 * time.Millisecond, 9 * time.Second}[step>>6])
			client := number(int(step >> 3 & 7))
			e := b.find(client)
			switch step & 7 {
			case 0, 1, 2, 3:
				if e != nil {
					b.heard(e, now)
					r := model[client]
					model[client] = record{r.since, now, r.regular || now.Sub(r.since) > keeps}
					break
				}
				gone, regulars := netip.AddrPort{}, 0
				for _, r := range model {
					if r.regular {
						regulars++
					}
				}
				gives := func(r record) bool {
					if r.regular && regulars < len(model)-regulars {
						return now.Sub(r.used) > floodKeeps
					}
					return now.Sub(r.used) > keeps
				}
				room := len(model) < places
				for _, r := range model {
					room = room || gives(r)
				}
				e = b.admit(client, now, func(e *entry[int]) { gone = e.client; b.remove(e) })
				if gone.IsValid() && !gives(model[gone]) {
					t.Fatalf("%v gave way after %v", gone, now.Sub(model[gone].used))
				}
				delete(model, gone)
				if (e != nil) != room {
					t.Fatalf("admitted: %v, with %d sessions", e != nil, len(model))
				}
				if e != nil {
					model[client] = record{since: now, used: now}
				}
			case 4, 5:
				if e != nil {
					b.renew(e, now)
					r := model[client]
					r.used = now
					model[client] = r
				}
			case 6, 7:
				if e != nil {
					b.remove(e)
					delete(model, client)
				}
			}
			if len(b.byClient) != len(model) || int(b.shared.free.Load()) != places-len(model) {
				t.Fatalf("%d sessions and %d places, want %d sessions", len(b.byClient), b.shared.free.Load(), len(model))
			}
			oldest := b.longestIdle()
			for client, r := range model {
				if e := b.find(client); e == nil || !e.used.Equal(r.used) || oldest.used.After(r.used) {
					t.Fatalf("%v was used at %v; the table has %+v, and for the longest idle %+v", client, r.used, e, oldest)
				}
			}
		}
	})
}
