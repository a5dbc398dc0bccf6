package ping

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Servers is who answered, in the order of CompareNames.
func Servers(byServer map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(byServer), CompareNames)
}

// CompareNames orders servers as people count: server2 before server10, and
// Unnamed last.
func CompareNames(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == Unnamed:
		return 1
	case b == Unnamed:
		return -1
	}
	prefixA, numberA := SplitNumber(a)
	prefixB, numberB := SplitNumber(b)
	numberA, numberB = strings.TrimLeft(numberA, "0"), strings.TrimLeft(numberB, "0")
	return cmp.Or(
		strings.Compare(prefixA, prefixB),
		cmp.Compare(len(numberA), len(numberB)),
		strings.Compare(numberA, numberB),
		strings.Compare(a, b),
	)
}

// SplitNumber splits a name before the digits it ends with.
func SplitNumber(name string) (prefix, number string) {
	prefix = strings.TrimRight(name, "0123456789")
	return prefix, name[len(prefix):]
}
