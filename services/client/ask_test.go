package main

import "testing"

func TestAQuietQuestionPrintsTheAnswerAlone(t *testing.T) {
	for _, tt := range []struct {
		name           string
		answer         func(n int, request string) []datagram
		code           int
		stdout, stderr string
	}{
		{"from one of our servers", roundRobin(), 0, "WHO IS THERE\n", ""},
		{"from one without a name", func(_ int, request string) []datagram { return []datagram{{payload: request}} }, 0, "who is there\n", ""},
		{"that never comes", roundRobin(0), 1, "", "client: REQUEST TIMED OUT\n"},
		{"that cannot come", func(int, string) []datagram { return []datagram{{err: refusal}} }, 1, "", "client: REQUEST TIMED OUT  (refused)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inLab(t, &lab{answer: tt.answer}, &session{args: "ask -q who is there"})
			s.check(t, tt.code, tt.stdout)
			same(t, "stderr", s.stderr, tt.stderr)
		})
	}
}
