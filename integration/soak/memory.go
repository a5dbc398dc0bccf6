package main

import "fmt"

// memory is what the balancer had, as often as somebody looked.
type memory []sample

type sample struct {
	done  uint64 // datagrams settled by then
	bytes int64
}

// growth is how much more the second half's highest may be than the first's,
// in percent.
const growth = 10

// warmAfter is how many datagrams the balancer needs at least to be warm: to
// have used every buffer, and been asked for its turns a few times.
const warmAfter = 250_000

// verdict says whether memory was flat once the balancer was warm, after a
// tenth of all datagrams: whether the highest of the second half of the rest
// is no more than a tenth above the highest of the first half. Without a
// sample in each of the two there is no verdict, which is no failure.
func (m memory) verdict(total uint64) (text string, flat bool) {
	warm := max(total/10, warmAfter)
	if warm >= total {
		return fmt.Sprintf("  –   the balancer's memory is not judged: %s datagrams only warm it up", thousands(total)), true
	}
	half := warm + (total-warm)/2
	var first, second int64
	for _, s := range m {
		switch {
		case s.done < warm:
		case s.done < half:
			first = max(first, s.bytes)
		default:
			second = max(second, s.bytes)
		}
	}
	if first == 0 || second == 0 {
		return fmt.Sprintf("  –   the balancer's memory is not judged: %d samples are too few", len(m)), true
	}
	flat = second*100 <= first*(100+growth)
	return fmt.Sprintf("%s the balancer's memory after %s datagrams: at most %s in the first half, %s in the second, +%d %% allowed (%d samples)",
		mark(flat), thousands(warm), mebibytes(first), mebibytes(second), growth, len(m)), flat
}
