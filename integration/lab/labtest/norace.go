//go:build !race

package labtest

var raceFlags []string
