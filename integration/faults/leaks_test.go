package faults

import (
	"fmt"
	"maps"
	"testing"
)

// dump is what Go's runtime prints at a SIGQUIT, shortened.
const dump = `SIGQUIT: quit

goroutine 0 gp=0xfd86e0 m=0 mp=0xfd98c0 [idle]:
runtime.futex(0xfd9a18, 0x80, 0x0, 0x0, 0x0, 0x0)

goroutine 2 gp=0x207a11398d20 m=nil [force gc (idle)]:
runtime.forcegchelper()
created by runtime.init.7 in goroutine 1

goroutine 31 gp=0x207a11484d20 m=nil [select]:
udplab/services/balancer/internal/membership.(*Set).Run.func1(...)
created by sync.(*WaitGroup).Go in goroutine 9
	/usr/local/go/src/sync/waitgroup.go:237 +0x73

goroutine 40 gp=0x207a11484d20 m=nil [IO wait]:
net.(*Resolver).exchange(0x0)
created by net.(*Resolver).goLookupIPCNAMEOrder.func3 in goroutine 39

goroutine 42 gp=0x207a11484d20 m=4 mp=0x207a113e1808 [running]:
	goroutine running on other thread; stack unavailable
created by sync.(*WaitGroup).Go in goroutine 1
`

func TestGoroutinesAreCountedByTheirCreator(t *testing.T) {
	if got, want := running(dump), (census{"goroutine of sync.(*WaitGroup).Go": 2}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestWhatThereIsMoreOfIsNamed(t *testing.T) {
	before := census{"socket": 7, "file": 1}
	for _, c := range []struct {
		before, after census
		slack         int
		want          string
	}{
		{before, census{"socket": 5, "file": 1}, 0, "<nil>"},
		{before, census{"socket": 9, "file": 1}, 0, "9 socket instead of 7"},
		{before, census{"socket": 9, "file": 1}, 2, "<nil>"},
		{before, census{"pipe": 1}, 0, "1 pipe instead of 0"},
		{nil, census{"pipe": 1}, 0, "<nil>"},
	} {
		if got := fmt.Sprint(c.after.beyond(c.before, c.slack)); got != c.want {
			t.Errorf("%v after %v: %q, want %q", c.after, c.before, got, c.want)
		}
	}
}
