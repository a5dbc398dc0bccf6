package main

import (
	"strconv"
	"strings"
	"time"

	"udplab/services/kit/udp"
)

// A request is plain text, `PING <seq> <HH:MM:SS.mmm>`, perhaps padded. The
// reply is the request in upper case, a space and the server's name:
// `PING 7 10:04:05.120 server2`. The assignment's own servers, and any other
// UDP echo, leave the name out.

// unnamed is how a server that does not say its name is called.
const unnamed = "?"

// wording is what a run asks and how its answers are told apart.
type wording struct {
	// text of the request with this sequence number, sent at this time.
	text func(seq int, at time.Time) string
	// sequence is the number of the request that a payload claims to answer.
	sequence func(payload string) (seq int, ok bool)
	// padded says whether the text is padded to the configured size.
	padded bool
}

// pings is the wording of the assignment.
var pings = wording{text: pingText, sequence: pingSequence, padded: true}

// oneQuestion is a wording that sends the text as it is. There is no number
// in it, so whatever comes is held against that one question.
func oneQuestion(text string) wording {
	return wording{
		text:     func(int, time.Time) string { return text },
		sequence: func(string) (int, bool) { return 1, true },
	}
}

func pingText(seq int, at time.Time) string { return string(appendPing(nil, seq, at)) }

// appendPing appends the text of a ping.
func appendPing(to []byte, seq int, at time.Time) []byte {
	to = strconv.AppendInt(append(to, "PING "...), int64(seq), 10)
	return at.AppendFormat(append(to, ' '), "15:04:05.000")
}

func pingSequence(payload string) (seq int, ok bool) {
	rest, ok := strings.CutPrefix(payload, "PING ")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, " ")
	seq, err := strconv.Atoi(digits)
	return seq, err == nil
}

// pad lengthens text to size bytes. A text that is longer stays as it is. The
// padding has no letters, so that it comes back from any server unchanged.
func pad(text string, size int) string { return text + padding(len(text), size) }

// padding is what makes a text of so many bytes size bytes long.
func padding(length, size int) string { return filler[:max(0, size-length)] }

var filler = " " + strings.Repeat(".", udp.MaxPayload)

// evidence is how many bytes of a request, or all of a shorter one, must come
// back in what counts as its answer. Any ping's number and time fit in, and a
// server that cuts long datagrams still cuts behind it.
const evidence = 64

// understand reads a payload as the answer to what was sent. It is none unless
// it begins as that did, so an answer to somebody else's ping of the same
// number is not taken for ours. message is the payload without the server's
// name; without a name, the server is unnamed and the message everything.
func understand(payload, sent string) (server, message string, ok bool) {
	asIs := func(s string) string { return s }
	// In upper case, as our server or one that knows more than ASCII writes
	// it, or as a plain echo does.
	for _, echo := range []func(string) string{upper, asIs, strings.ToUpper} {
		if !strings.HasPrefix(payload, echo(sent[:min(len(sent), evidence)])) {
			continue
		}
		// The largest answers lose the end of the text, never the name.
		message = payload[:common(payload, echo(sent))]
		if name, ok := strings.CutPrefix(payload[len(message):], " "); ok && isWord(name) {
			return name, message, true
		}
		return unnamed, payload, true
	}
	return "", "", false
}

// common is how many bytes a and b begin with alike.
func common(a, b string) (n int) {
	if strings.HasPrefix(a, b) { // as a rule
		return len(b)
	}
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// upper turns the ASCII letters to upper case and leaves every other byte.
func upper(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
		return text
	}
	b := []byte(text)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func isWord(s string) bool {
	fields := strings.Fields(s)
	return len(fields) == 1 && fields[0] == s
}
