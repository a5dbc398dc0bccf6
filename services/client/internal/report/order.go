package report

import (
	"fmt"
	"slices"
	"strings"

	"udplab/services/client/internal/ping"
)

// shownTurns is how many turns are drawn: more do not fit a screen.
const shownTurns = 60

// orderLine draws the order and says who is next, or why nobody can tell. It is
// empty if no server is known.
func orderLine(o ping.Order) string {
	drawn := drawTurns(o)
	if drawn == "" {
		return ""
	}
	outlook := o.WhyNot()
	if next := o.Next(); next != "" {
		outlook = fmt.Sprintf("the balancer keeps counting: the next turn is expected to be %s's", ping.Printable(next))
	}
	return fmt.Sprintf("order        %s        %s", drawn, outlook)
}

// drawTurns draws the latest turns: `2 3  · 2 3  1 2 3`. A dot is a turn whose
// server is silent, a wider gap the beginning of a round, and an ellipsis stands
// for the turns before.
func drawTurns(o ping.Order) string {
	names := slices.DeleteFunc(slices.Clone(o.Turns), func(s string) bool { return s == "" })
	if len(names) == 0 {
		return ""
	}
	slices.SortFunc(names, ping.CompareNames)
	names = slices.Compact(names)
	label := labels(names)

	var b strings.Builder
	begin := max(1, len(o.Turns)-shownTurns+1)
	if begin > 1 {
		b.WriteString("… ")
	}
	for turn := begin; turn <= len(o.Turns); turn++ {
		if turn > begin {
			b.WriteByte(' ')
			if len(names) > 1 && o.Who(turn) == names[0] {
				b.WriteByte(' ')
			}
		}
		if server := o.Turns[turn-1]; server != "" {
			b.WriteString(label(server))
		} else {
			b.WriteString("·")
		}
	}
	return b.String()
}

// labels is how to write these servers in short: by their number if that is all in
// which they differ, otherwise by their name.
func labels(names []string) func(name string) string {
	common := ""
	for i, name := range names {
		prefix, number := ping.SplitNumber(name)
		if name == ping.Unnamed {
			continue
		}
		if number == "" || i > 0 && prefix != common {
			return ping.Printable
		}
		common = prefix
	}
	return func(name string) string { return ping.Printable(strings.TrimPrefix(name, common)) }
}
