package integration

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What a command prints is what the document shows if they are the same after
// everything is hidden that differs from run to run. In the document, … stands
// for any text, and on a line of its own for any number of lines.

// sameText compares lines.
func sameText(shown, printed []string) bool {
	if len(shown) == 0 {
		return len(printed) == 0
	}
	if strings.TrimSpace(shown[0]) == "…" {
		return sameText(shown[1:], printed) || len(printed) > 0 && sameText(shown, printed[1:])
	}
	return len(printed) > 0 && sameLine(shown[0], printed[0]) && sameText(shown[1:], printed[1:])
}

// missing is the first of the shown lines that is not among the printed ones,
// each of which stands for one, or "".
func missing(shown, printed []string) string {
	printed = slices.Clone(printed)
	for _, line := range shown {
		found := slices.IndexFunc(printed, func(printed string) bool { return sameLine(line, printed) })
		if found < 0 {
			return line
		}
		printed = slices.Delete(printed, found, found+1)
	}
	return ""
}

func sameLine(shown, printed string) bool {
	pattern := regexp.QuoteMeta(hide(shown))
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	// Any machine may be slow at times, but none answers before a delay is over.
	pattern = strings.ReplaceAll(pattern, quick, "(?:"+quick+"|"+slow+")")
	return regexp.MustCompile("^" + pattern + "$").MatchString(hide(printed))
}

// Durations of an answer that nobody held back on purpose, and of others.
const (
	quick = "quick ms"
	slow  = "slow ms"
)

var (
	milliseconds = regexp.MustCompile(`\b(\d+(?:\.\d+)?) ms\b`)

	hidden = []struct {
		pattern *regexp.Regexp
		by      string
	}{
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT`), ""},
		{regexp.MustCompile(`\b\d\d:\d\d:\d\d(\.\d+)?Z?`), "00:00:00"},
		{regexp.MustCompile(`(rtt [a-z0-9/]+ =) [\d./]+ ms`), "$1 some"},
		{regexp.MustCompile(`("(?:\w+_ms|min|avg|max|mdev|p\d+)":)\d+(\.\d+)?`), "${1}0"},
		// Clients have addresses from the upper half, and ports from the system.
		{regexp.MustCompile(`\b172\.30\.7\.(12[89]|1[3-9]\d|2\d\d)\b`), "172.30.7.128"},
		{regexp.MustCompile(`\b((?:127\.0\.0\.1|172\.30\.7\.\d+)[.:])\d{5}\b`), "${1}50000"},
	}
)

// hide replaces what differs from run to run: times, ports, and of durations
// everything but whether they are slow.
func hide(line string) string {
	for _, h := range hidden {
		line = h.pattern.ReplaceAllString(line, h.by)
	}
	line = milliseconds.ReplaceAllStringFunc(line, func(text string) string {
		if ms, _ := strconv.ParseFloat(strings.TrimSuffix(text, " ms"), 64); ms < 550 {
			return quick
		}
		return slow
	})
	return strings.TrimRight(line, " ")
}

func TestWhatDiffersFromRunToRunIsHiddenAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name, shown, printed string
		want                 bool
	}{
		{"time and round trip", "server2  seq=1  0.695 ms  PING 1 21:56:09.461", "server2  seq=1  11.2 ms  PING 1 01:02:03.004", true},
		{"another server", "server2  seq=1  0.695 ms  PING 1 21:56:09.461", "server3  seq=1  0.695 ms  PING 1 21:56:09.461", false},
		{"a slow answer of a busy machine", "server2  seq=1  0.695 ms", "server2  seq=1  601.5 ms", true},
		{"a quick answer for one with a delay", "server2  seq=1  601.5 ms", "server2  seq=1  0.695 ms", false},
		{"a slow answer for another", "late server2 seq=1 1718 ms", "late server2 seq=1 1050 ms", true},
		{"client's address and port", "#4 server1 answered 172.30.7.128:52795 in 0.20 ms", "#4 server1 answered 172.30.7.131:33333 in 2.20 ms", true},
		{"a server's address", "172.30.7.11.2526 > 172.30.7.10.40000: UDP", "172.30.7.12.2526 > 172.30.7.10.40000: UDP", false},
		{"spread", "rtt min/avg/max/mdev = 0.403/0.714/2.355/0.558 ms", "rtt min/avg/max/mdev = 1/2/700/4 ms", true},
		{"share lost", "10 sent, 9 received, 10% loss, time 1808 ms", "10 sent, 8 received, 20% loss, time 1808 ms", false},
		{"an object", `{"turn":4,"at":"2026-11-22T22:51:07.95Z","rtt_ms":0.152}`, `{"turn":4,"at":"2027-01-01T00:00:00.1Z","rtt_ms":12}`, true},
		{"an ellipsis", "#… server3 silent for 1 s, asked by …", "#7 server3 silent for 1 s, asked by 127.0.0.1:1", true},
		{"an ellipsis for lines", "a\n…\nd", "a\nb\nc\nd", true},
		{"an ellipsis for no line", "a\n…\nd", "a\nd", true},
		{"an ellipsis for the end", "a\n…", "a\nb", true},
		{"a line too many", "a", "a\nb", false},
		{"a line too few", "a\nb", "a", false},
	} {
		if got := sameText(strings.Split(c.shown, "\n"), strings.Split(c.printed, "\n")); got != c.want {
			t.Errorf("%s: the same: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestEachLineOfATerminalStandsForOne(t *testing.T) {
	for _, c := range []struct{ shown, printed, missing string }{
		{"a b", "x b a y", ""},
		{"a a", "a b", "a"},
		{"", "a", ""},
		{"a", "", "a"},
	} {
		if line := missing(strings.Fields(c.shown), strings.Fields(c.printed)); line != c.missing {
			t.Errorf("%q in %q: missing %q, want %q", c.shown, c.printed, line, c.missing)
		}
	}
}
