package main

import (
	"errors"
	"testing"
	"time"
)

func TestAResultInWords(t *testing.T) {
	for want, r := range map[string]result{
		"answered":                                   {outcome: answered},
		"answered, cut to 65507 bytes":               {outcome: answered, cut: true},
		"lost on purpose":                            {outcome: lost},
		"answering in 200 ms":                        {outcome: delayed, delay: 200 * time.Millisecond},
		"answering in 1500 ms":                       {outcome: delayed, delay: 1500 * time.Millisecond},
		"answering in 0.2 ms":                        {outcome: delayed, delay: 234 * time.Microsecond},
		"answering in 3 ms, cut to 65507 bytes":      {outcome: delayed, delay: 3 * time.Millisecond, cut: true},
		"could not answer: no route to host":         {outcome: failed, err: errors.New("no route to host")},
		"dropped, the answer could not be held back": {outcome: dropped, cut: true},
	} {
		if got := r.String(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}
