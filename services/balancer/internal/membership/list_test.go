package membership

import (
	"fmt"
	"strings"
	"testing"
)

func TestLists(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"server1=localhost:2526,server2=localhost:2527", "[server1=localhost:2526 server2=localhost:2527]"},
		{"localhost:1, localhost:2", "[server1=localhost:1 server2=localhost:2]"},
		{"a=[::1]:7", "[a=[::1]:7]"},
		{"a=[fe80::1%eth0]:7", "[a=[fe80::1%eth0]:7]"},
		{"my_server-1=lab_server-1.example.org.:7", "[my_server-1=lab_server-1.example.org.:7]"},
		{"a=" + strings.Repeat("x.", 126) + "x:1", "[a=" + strings.Repeat("x.", 126) + "x:1]"},
	} {
		var l List
		if err := l.UnmarshalText([]byte(tt.text)); err != nil || fmt.Sprint(l) != tt.want {
			t.Errorf("%s: %v, %v", tt.text, l, err)
		}
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", wantList},
		{"an empty entry", "a=x:1,,b=x:2", wantList},
		{"no port", "a=x", `"a=x": want name=host:port with a port from 1 to 65535`},
		{"no host", "a=:1", "want name=host:port"},
		{"no name", "=x:1", "want a server's name"},
		{"a name with an escape sequence", "a\x1b[31m=x:1", "want a server's name"},
		{"a name that is no text", "a\xff=x:1", "want a server's name"},
		{"a host with an empty label", "a=x..y:1", "want an address, or a name of letters"},
		{"a host that begins with a hyphen", "a=-x:1", "want an address, or a name of letters"},
		{"a host with a letter that DNS does not have", "a=größe:1", "want an address, or a name of letters"},
		{"a label that is too long", "a=" + strings.Repeat("x", 64) + ":1", "want an address, or a name of letters"},
		{"a host that is too long", "a=" + strings.Repeat("x.", 126) + "xy:1", "want an address, or a name of letters"},
		{"an address that was mistyped", "a=192.0.2.256:1", "want an address, or a name of letters"},
		{"a zone with a space", "a=[fe80::1%a b]:1", "want an address, or a name of letters"},
		{"every address", "a=0.0.0.0:1", "want the address of one server"},
		{"a group of servers", "a=[ff02::1]:1", "want the address of one server"},
		{"the same name twice", "a=x:1,a=x:2", `"a=x:2": want each name and address once; a=x:1 has it already`},
		{"the same address twice", "a=x:1,b=X:1", "a=x:1 has it already"},
	} {
		var l List
		if err := l.UnmarshalText([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v", tt.name, l, err)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add("server1=localhost:2526,[::1]:7,x=y:1")
	f.Add("=,=:,a=b=c:1")
	f.Fuzz(func(t *testing.T, text string) {
		var l, again List
		if l.UnmarshalText([]byte(text)) != nil {
			return
		}
		var entries []string
		for _, s := range l {
			entries = append(entries, s.String())
		}
		if err := again.UnmarshalText([]byte(strings.Join(entries, ","))); err != nil || fmt.Sprint(again) != fmt.Sprint(l) {
			t.Errorf("%q is %v, and then %v: %v", text, l, again, err)
		}
	})
}
