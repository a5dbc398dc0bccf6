package phrase

import (
	"strings"
	"testing"
	"time"
)

func TestNumbersAsPeopleReadThem(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Thousands(0), "0"}, {Thousands(999), "999"}, {Thousands(1000), "1,000"}, {Thousands(12345678), "12,345,678"},
		{Count(0, "turn"), "0 turns"}, {Count(1, "turn"), "1 turn"}, {Count(1204, "turn"), "1,204 turns"},
		{MissedChanges(1), "1 more change of servers, too many to list"}, {MissedChanges(1204), "1,204 more changes of servers, too many to list"},
		{Percent(1, 3), "33.3 %"}, {Percent(0, 3), "0.0 %"}, {Percent(0, 0), "–"},
		{Millis(0), "0.00"}, {Millis(0.412), "0.41"}, {Millis(9.99), "9.99"}, {Millis(45.678), "45.7"}, {Millis(1718.2), "1718"},
		{Millis(Milliseconds(45678 * time.Microsecond)), "45.7"},
		{TurnsOfDown(false), "its turns go to the next server"}, {TurnsOfDown(true), "its turns are kept and lost"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func TestTimesAsPeopleReadThem(t *testing.T) {
	now := time.Date(2026, 3, 2, 0, 10, 0, 0, time.UTC)
	for _, test := range []struct {
		before      time.Duration
		moment, ago string
	}{
		{-time.Second, "00:10:01", "0 s ago"}, // by another clock
		{59 * time.Second, "00:09:01", "59 s ago"},
		{2*time.Minute + 59*time.Second, "00:07:01", "2 min ago"},
		{20 * time.Minute, "1 Mar 23:50:00", "20 min ago"},
		{47 * time.Hour, "28 Feb 01:10:00", "47 h ago"},
		{48 * time.Hour, "28 Feb 00:10:00", "2 days ago"},
		{365 * 24 * time.Hour, "2 Mar 2025 00:10:00", "365 days ago"},
	} {
		at := now.Add(-test.before)
		if got := Moment(at, now); got != test.moment {
			t.Errorf("%v before: %s, want %s", test.before, got, test.moment)
		}
		if got := strings.ReplaceAll(Ago(at, now), "\u00a0", " "); got != test.ago {
			t.Errorf("%v before: %s, want %s", test.before, got, test.ago)
		}
	}
}
