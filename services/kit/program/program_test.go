package program

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"udplab/services/kit/config"
)

func TestHowAProgramEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
		said string
	}{
		{"well", nil, 0, ""},
		{"it died", errors.New("the listener is gone"), 1, "prog: the listener is gone\n"},
		{"it could not start", CannotStart(errors.New("port in use")), 2, "prog: port in use\n"},
		{"two problems", errors.Join(config.Problem{Name: "A", Value: "1", Want: "2"}, config.Problem{Name: "B", Value: "", Want: "x"}), 2, "prog: A=\"1\": want 2\nprog: B=\"\": want x\n"},
		{"one problem", config.Problem{Name: "A", Value: "1", Want: "2"}, 2, "prog: A=\"1\": want 2\n"},
		{"wrapped", fmt.Errorf("run: %w", CannotStart(errors.New("no"))), 2, "prog: run: no\n"},
		{"everything was said", Exit(1), 1, ""},
		{"nothing was wrong", CannotStart(nil), 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := report(&out, "prog", tt.err); code != tt.code || out.String() != tt.said {
				t.Errorf("code %d, said %q", code, out.String())
			}
		})
	}
}
