package main

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"udplab/services/kit/udp"
)

func TestAnswer(t *testing.T) {
	const name = "server2"
	room := udp.MaxPayload - len(" server2")
	for _, tt := range []struct {
		name, request, want string
		cut                 bool
	}{
		{"a ping is upper-cased", "ping 7 10:04:05.120", "PING 7 10:04:05.120 server2", false},
		{"the probe is a request as any other", probe, "HEALTHCHECK server2", false},
		{"nothing leaves the name", "", " server2", false},
		{"letters beyond ASCII stay", "grüße ß ǆ", "GRüßE ß ǆ server2", false},
		{"bytes that are no text stay", "\x00a\xff\xc3z\n", "\x00A\xff\xc3Z\n server2", false},
		{"the longest that fits", strings.Repeat("x", room), strings.Repeat("X", room) + " server2", false},
		{"one byte more loses its end", strings.Repeat("x", room) + "y", strings.Repeat("X", room) + " server2", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, cut := appendAnswer(nil, []byte(tt.request), name)
			if string(answer) != tt.want || cut != tt.cut {
				t.Errorf("%.80q (%d bytes, cut %t), want %.80q (%d bytes)", answer, len(answer), cut, tt.want, len(tt.want))
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("ping 1"), "server1")
	f.Add([]byte{}, "s")
	f.Add([]byte("ping 1"), "a\u00a0b")
	f.Add([]byte("ping 1"), "\u200b")
	f.Add([]byte("ping 1"), "\xff")
	f.Add(bytes.Repeat([]byte{0xc3}, udp.MaxPayload), "größe")
	f.Fuzz(func(t *testing.T, request []byte, given string) {
		var name serverName
		if name.UnmarshalText([]byte(given)) != nil {
			return
		}
		before := bytes.Clone(request)
		answer, cut := appendAnswer([]byte("held "), request, string(name))
		answer, ok := bytes.CutPrefix(answer, []byte("held "))
		text, named := bytes.CutSuffix(answer, []byte(" "+string(name)))
		switch {
		case !ok || !named:
			t.Errorf("%q", answer)
		case len(answer) > udp.MaxPayload:
			t.Errorf("%d bytes do not fit", len(answer))
		case !slices.Contains(strings.Fields(string(answer)), given): // the name is the last word
			t.Errorf("%q is no word of %q", given, answer)
		case cut != (len(text) < len(request)) || cut && len(answer) != udp.MaxPayload:
			t.Errorf("%d bytes of %d, cut %t", len(text), len(request), cut)
		case !bytes.Equal(request, before):
			t.Error("the request was changed")
		}
		for i, b := range text {
			want := request[i]
			if strings.IndexByte("abcdefghijklmnopqrstuvwxyz", want) >= 0 {
				want -= 'a' - 'A'
			}
			if b != want {
				t.Fatalf("byte %d: %q became %q", i, request[i], b)
			}
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	for _, size := range []int{26, 1400, udp.MaxPayload} {
		b.Run("bytes="+strconv.Itoa(size), func(b *testing.B) {
			request := bytes.Repeat([]byte("p"), size)
			answer := make([]byte, 0, udp.MaxPayload)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				answer, _ = appendAnswer(answer[:0], request, "server1")
			}
		})
	}
}
