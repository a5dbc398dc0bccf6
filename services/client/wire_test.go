package main

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
		seq  int
		size int
		want string
	}{
		{"the first", 1, 0, "PING 1 10:04:05.120"},
		{"a later one", 1234, 0, "PING 1234 10:04:05.120"},
		{"shorter than itself is itself", 1, 18, "PING 1 10:04:05.120"},
		{"one byte of padding", 1, 20, "PING 1 10:04:05.120 "},
		{"five bytes", 1, 24, "PING 1 10:04:05.120 ...."},
	} {
		if got := pad(pingText(tt.seq, at), tt.size); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := pad(pingText(1, at), 65507); len(got) != 65507 {
		t.Errorf("%d bytes, want 65507", len(got))
	}
}

func TestTheNumberOfAnAnswer(t *testing.T) {
	for payload, want := range map[string]int{
		"PING 7 10:04:05.120 server2": 7,
		"PING 7":                      7,
		"PING x 10:04":                -1,
		"PING  7":                     -1,
		"PING 99999999999999999999 x": -1,
		"ping 7 10:04:05.120":         -1,
		"":                            -1,
	} {
		seq, ok := pingSequence(payload)
		if !ok {
			seq = -1
		}
		if seq != want {
			t.Errorf("%q: %d, want %d", payload, seq, want)
		}
	}
}

func TestAnswersAreReadByWhatWasAsked(t *testing.T) {
	const ours = "PING 7 10:04:05.120"
	large := pad(ours, udp.MaxPayload)
	question := strings.Repeat("How are you? ", 10)
	for _, tt := range []struct {
		name    string
		payload string
		sent    string
		server  string
		message string
		ok      bool
	}{
		{"with a name", ours + " server2", ours, "server2", ours, true},
		{"without", ours, ours, unnamed, ours, true},
		{"with more than a name", ours + " via balancer", ours, unnamed, ours + " via balancer", true},
		{"with a name that is glued on", ours + "server2", ours, unnamed, ours + "server2", true},
		{"with a space and no name", ours + " ", ours, unnamed, ours + " ", true},
		{"of another time", "PING 7 10:04:05.121 server2", ours, "", "", false},
		{"cut too early", ours[:12], ours, "", "", false},
		{"padded", ours + " .... server2", ours + " ....", "server2", ours + " ....", true},
		{"of the largest size, cut for the name", large[:65499] + " server2", large, "server2", large[:65499], true},
		{"cut as the assignment's programs do", large[:1024], large, unnamed, large[:1024], true},
		{"a question", "HOW ARE YOU? server1", "How are you?", "server1", "HOW ARE YOU?", true},
		{"a question, echoed", "How are you?", "How are you?", unnamed, "How are you?", true},
		{"a long question, cut for the name", upper(question[:100]) + " server1", question, "server1", upper(question[:100]), true},
		{"a question in ASCII capitals", "GRüN server1", "grün", "server1", "GRüN", true},
		{"a question in all capitals", "GRÜN", "grün", unnamed, "GRÜN", true},
		{"an empty question", " server1", "", "server1", "", true},
		{"an empty answer to it", "", "", unnamed, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, message, ok := understand(tt.payload, tt.sent)
			if server != tt.server || message != tt.message || ok != tt.ok {
				t.Errorf("server %q, message of %d bytes %.80q, %v", server, len(message), message, ok)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add("PING 1 00:00:00.000 server1", 0)
	f.Add("PING 1 00:00:00.000 ..... server1", 25)
	f.Add("PING 2", 0)
	f.Add("\xff\x00", 3)
	f.Fuzz(func(t *testing.T, payload string, size int) {
		size = min(max(size, 0), 100)
		w := newTally(pings, size, time.Second)
		sentAt := time.Unix(0, 0).UTC()
		_, request := w.send(sentAt)
		switch e := w.receive(payload, sentAt.Add(time.Millisecond)).(type) {
		case replied:
			if !strings.HasPrefix(payload, "PING 1 00:00:00.000") {
				t.Errorf("%q was taken for our answer", payload)
			}
			if e.server != unnamed && e.message+" "+e.server != payload {
				t.Errorf("%q was split into %q and %q", payload, e.message, e.server)
			}
			if e.server != unnamed && !strings.HasPrefix(request, e.message) {
				t.Errorf("%q is said to repeat %q", payload, request)
			}
			if line := (textReport{}).line(e); strings.ContainsAny(line, "\x1b\n\r") {
				t.Errorf("%q shows as %q", payload, line)
			}
		case strayed:
			if !w.waiting() {
				t.Errorf("%q ended the wait", payload)
			}
		default:
			t.Errorf("%q is a %T", payload, e)
		}
	})
}
