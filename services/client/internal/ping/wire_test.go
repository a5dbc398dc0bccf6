package ping

import (
	"strings"
	"testing"
	"time"

	"udplab/services/kit/udp"
)

func TestTheRequestIsTheAssignments(t *testing.T) {
	at := time.Date(2026, 1, 2, 10, 4, 5, 120_900_000, time.UTC)
	for _, tt := range []struct {
		name string
		seq  int64
		size int
		want string
	}{
		{"the first", 1, 0, "PING 1 10:04:05.120"},
		{"a later one", 1234, 0, "PING 1234 10:04:05.120"},
		{"beyond 32 bits", 86_400_000_000, 0, "PING 86400000000 10:04:05.120"},
		{"shorter than itself is itself", 1, 18, "PING 1 10:04:05.120"},
		{"one byte of padding", 1, 20, "PING 1 10:04:05.120 "},
		{"five bytes", 1, 24, "PING 1 10:04:05.120 ...."},
	} {
		if got := string(AppendRequest([]byte("x"), tt.seq, at, tt.size)); got != "x"+tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := AppendRequest(nil, 1, at, udp.MaxPayload); len(got) != udp.MaxPayload {
		t.Errorf("%d bytes, want %d", len(got), udp.MaxPayload)
	}
}

func TestTheNumberOfAReply(t *testing.T) {
	for payload, want := range map[string]int64{
		"PING 7 10:04:05.120 server2": 7,
		"PING 7":                      7,
		"PING 86400000000 x":          86_400_000_000,
		"PING x 10:04":                -1,
		"PING  7":                     -1,
		"PING 99999999999999999999 x": -1,
		"ping 7 10:04:05.120":         -1,
		"":                            -1,
	} {
		seq, ok := Sequence(payload)
		if !ok {
			seq = -1
		}
		if seq != want {
			t.Errorf("%q: %d, want %d", payload, seq, want)
		}
	}
}

func TestRepliesAreReadByWhatWasAsked(t *testing.T) {
	const ours = "PING 7 10:04:05.120"
	large := ours + padding[:udp.MaxPayload-len(ours)]
	question := strings.Repeat("How are you? ", 10)
	for _, tt := range []struct {
		name    string
		payload string
		request string
		server  string
		message string
		ok      bool
	}{
		{"with a name", ours + " server2", ours, "server2", ours, true},
		{"without", ours, ours, Unnamed, ours, true},
		{"with more than a name", ours + " via balancer", ours, Unnamed, ours + " via balancer", true},
		{"with a name that is glued on", ours + "server2", ours, Unnamed, ours + "server2", true},
		{"with a space and no name", ours + " ", ours, Unnamed, ours + " ", true},
		{"of another time", "PING 7 10:04:05.121 server2", ours, "", "", false},
		{"cut too early", ours[:12], ours, "", "", false},
		{"padded", ours + " .... server2", ours + " ....", "server2", ours + " ....", true},
		{"of the largest size, cut for the name", large[:65499] + " server2", large, "server2", large[:65499], true},
		{"cut as the assignment's programs do", large[:1024], large, Unnamed, large[:1024], true},
		{"just what is evidence", large[:evidence], large, Unnamed, large[:evidence], true},
		{"a byte less", large[:evidence-1], large, "", "", false},
		{"a question", "HOW ARE YOU? server1", "How are you?", "server1", "HOW ARE YOU?", true},
		{"of the letters a to z", "AZ@[`{ server1", "az@[`{", "server1", "AZ@[`{", true},
		{"a question, echoed", "How are you?", "How are you?", Unnamed, "How are you?", true},
		{"a long question, cut for the name", upper(question[:100]) + " server1", question, "server1", upper(question[:100]), true},
		{"a question in ASCII capitals", "GRüN server1", "grün", "server1", "GRüN", true},
		{"a question in all capitals", "GRÜN", "grün", Unnamed, "GRÜN", true},
		{"an empty question", " server1", "", "server1", "", true},
		{"an empty answer to it", "", "", Unnamed, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, message, ok := ParseReply(tt.payload, tt.request)
			if server != tt.server || message != tt.message || ok != tt.ok {
				t.Errorf("server %q, message of %d bytes %.80q, %v", server, len(message), message, ok)
			}
		})
	}
}

func TestAQuestionFitsIntoADatagram(t *testing.T) {
	if err := CheckQuestion(strings.Repeat("a", udp.MaxPayload)); err != nil {
		t.Errorf("the longest: %v", err)
	}
	if err := CheckQuestion(strings.Repeat("a", udp.MaxPayload+1)); err == nil {
		t.Error("a longer one is accepted")
	}
}
