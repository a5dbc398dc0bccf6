package ping

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"udplab/services/kit/config"
	"udplab/services/kit/logging"
	"udplab/services/kit/udp"
)

// Unnamed stands for a server that does not say its name.
const Unnamed = "?"

// AppendRequest appends the text of a ping, `PING <seq> <HH:MM:SS.mmm>`, padded
// to size bytes if it is shorter. The padding has no letters, so it comes back
// from any server unchanged.
func AppendRequest(to []byte, seq int64, at time.Time, size int) []byte {
	begin := len(to)
	to = strconv.AppendInt(append(to, "PING "...), seq, 10)
	to = at.AppendFormat(append(to, ' '), "15:04:05.000")
	return append(to, padding[:max(0, size-(len(to)-begin))]...)
}

var padding = " " + strings.Repeat(".", udp.MaxPayload)

// Sequence is the number of the ping that a payload claims to answer. ok is
// false if it claims none.
func Sequence(payload string) (seq int64, ok bool) {
	rest, ok := strings.CutPrefix(payload, "PING ")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, " ")
	seq, err := strconv.ParseInt(digits, 10, 64)
	return seq, err == nil
}

// evidence is how many bytes of a request, or all of a shorter one, must come
// back in its reply. The number and time of any ping fit in, and a server that
// cuts long datagrams still cuts behind it.
const evidence = 64

// ParseReply reads a payload as the reply to a request: the request in upper
// case, a space and the server's name. Other UDP echoes leave the name out; then
// the server is Unnamed and the message is everything. ok is false if the payload
// does not begin as the request did, for example as the reply to somebody else's
// ping of the same number.
func ParseReply(payload, request string) (server, message string, ok bool) {
	unchanged := func(s string) string { return s }
	// Our server writes ASCII capitals, a plain echo changes nothing, and others
	// know more letters than ASCII.
	for _, echo := range []func(string) string{upper, unchanged, strings.ToUpper} {
		if !strings.HasPrefix(payload, echo(request[:min(len(request), evidence)])) {
			continue
		}
		// The largest replies lose the end of the text, never the name.
		message = payload[:commonLength(payload, echo(request))]
		if name, ok := strings.CutPrefix(payload[len(message):], " "); ok && name != "" && !strings.ContainsFunc(name, unicode.IsSpace) {
			return name, message, true
		}
		return Unnamed, payload, true
	}
	return "", "", false
}

// commonLength is how many bytes a and b begin with alike.
func commonLength(a, b string) (n int) {
	if strings.HasPrefix(a, b) { // the usual case, and much faster
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

// CheckQuestion says what is wrong with a text that is to be sent as it is. Its error
// is a config.Problem.
func CheckQuestion(text string) error {
	if len(text) > udp.MaxPayload {
		return config.Problem{Name: "argument", Value: text[:logging.Quoted] + "…", Want: "a text of at most 65507 bytes"}
	}
	return nil
}
