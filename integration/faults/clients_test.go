package faults

import (
	"strings"
	"testing"
	"time"
)

func TestWhatIsWrongWithAReplyIsAProblem(t *testing.T) {
	for _, c := range []struct{ client, end, want string }{
		{"1", " server1", ""},
		{"1", " guest", ""},
		{"1", " server1 server1", "it is no reply to anything that was sent"},
		{"1", " server4", "it is no reply to anything that was sent"},
		{"1", "X server1", "it is no reply to anything that was sent"},
		{"2", " server1", "it is another client's"},
	} {
		v := client{book: newBook(1, 1), since: time.Now()}
		_, payload, _ := v.book.Next(0)
		reply := []byte(strings.Replace(string(payload), "1", c.client, 1) + c.end)
		v.take(reply)
		if c.want == "" {
			v.take(reply)
			c.want = "it is a duplicate"
		}
		if len(v.wrong) != 1 || !strings.HasSuffix(v.wrong[0], c.want) {
			t.Errorf("%q: %q, want one that ends with %q", reply, v.wrong, c.want)
		}
	}
}
