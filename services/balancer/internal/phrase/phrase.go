// Package phrase writes numbers, times and what becomes of turns as people
// read them. The log, the news and the page use the same words.
package phrase

import (
	"fmt"
	"strconv"
	"time"
)

// Thousands writes 1204 as 1,204.
func Thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Count writes a number of things, whose plural ends in s: "1 turn",
// "1,204 turns".
func Count(n uint64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return Thousands(n) + " " + thing
}

// MissedChanges says that so many changes of servers came too fast to be told
// one by one.
func MissedChanges(n uint64) string {
	return Count(n, "more change") + " of servers, too many to list"
}

// Percent is a share of a whole, such as "33.3 %"; "–" of nothing.
func Percent(part, whole uint64) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// Milliseconds is a duration in milliseconds, cut to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Millis writes milliseconds without their unit, to three digits that matter:
// "0.41", "45.7", "1718".
func Millis(ms float64) string {
	decimals := 2
	switch {
	case ms >= 100:
		decimals = 0
	case ms >= 10:
		decimals = 1
	}
	return strconv.FormatFloat(ms, 'f', decimals, 64)
}

// Moment is a time of day, with the date if that is not the day of now.
func Moment(t, now time.Time) string {
	layout := time.TimeOnly
	switch {
	case t.Year() != now.Year():
		layout = "2 Jan 2006 " + layout
	case t.YearDay() != now.YearDay():
		layout = "2 Jan " + layout
	}
	return t.Format(layout)
}

// Ago is how long ago a time was, in the largest unit that fits, with spaces
// at which no line breaks.
func Ago(t, now time.Time) string {
	switch d := max(0, now.Sub(t)); {
	case d < time.Minute:
		return fmt.Sprintf("%d\u00a0s\u00a0ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d\u00a0min\u00a0ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d\u00a0h\u00a0ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d\u00a0days\u00a0ago", d/(24*time.Hour))
	}
}

// TurnsOfDown says what becomes of the turns of a server that is down.
func TurnsOfDown(hold bool) string {
	if hold {
		return "its turns are kept and lost"
	}
	return "its turns go to the next server"
}
