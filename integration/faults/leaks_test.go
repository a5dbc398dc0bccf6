package faults

import (
	"maps"
	"testing"
)

// dump is what Go's runtime prints at a SIGQUIT, shortened.
const dump = `SIGQUIT: quit
PC=0x494aa1 m=0 sigcode=0

goroutine 0 gp=0xfd86e0 m=0 mp=0xfd98c0 [idle]:
runtime.futex(0xfd9a18, 0x80, 0x0, 0x0, 0x0, 0x0)
	/usr/local/go/src/runtime/sys_linux_amd64.s:569 +0x21

goroutine 1 gp=0x207a113981e0 m=nil [sync.WaitGroup.Wait]:
main.main()
	/src/services/balancer/main.go:33 +0x26

goroutine 2 gp=0x207a11398d20 m=nil [force gc (idle)]:
runtime.forcegchelper()
	/usr/local/go/src/runtime/proc.go:375 +0xb3
created by runtime.init.7 in goroutine 1
	/usr/local/go/src/runtime/proc.go:363 +0x1a

goroutine 31 gp=0x207a11484d20 m=nil [select]:
udplab/services/balancer/internal/membership.(*Set).Run.func1(...)
	/src/services/balancer/internal/membership/backend.go:210 +0x30
created by sync.(*WaitGroup).Go in goroutine 9
	/usr/local/go/src/sync/waitgroup.go:237 +0x73

goroutine 40 gp=0x207a11484d20 m=nil [IO wait]:
net.(*Resolver).exchange(0x0)
	/usr/local/go/src/net/dnsclient_unix.go:1
created by net.(*Resolver).goLookupIPCNAMEOrder.func3 in goroutine 39
	/usr/local/go/src/net/dnsclient_unix.go:2

goroutine 42 gp=0x207a11484d20 m=4 mp=0x207a113e1808 [running]:
	goroutine running on other thread; stack unavailable
created by sync.(*WaitGroup).Go in goroutine 1
	/usr/local/go/src/sync/waitgroup.go:237 +0x73

rax    0xca
`

func TestGoroutinesAreCountedByTheirCreator(t *testing.T) {
	if got, want := running(dump), (census{"main": 1, "sync.(*WaitGroup).Go": 2}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if got := running("killed\n"); got.total() != 0 {
		t.Errorf("counted %v where there are no stacks", got)
	}
}

func TestWhatThereIsMoreOfIsNamed(t *testing.T) {
	before := census{"socket": 7, "file": 1, "pipe": 2}
	for _, c := range []struct {
		after census
		slack int
		want  string
	}{
		{census{"socket": 7, "file": 1, "pipe": 2}, 0, ""},
		{census{"socket": 5, "pipe": 2}, 0, ""},
		{census{"socket": 9, "file": 1, "pipe": 2}, 0, "9 socket instead of 7"},
		{census{"socket": 9, "file": 1, "pipe": 2}, 2, ""},
		{census{"socket": 10, "file": 1, "pipe": 2}, 2, "10 socket instead of 7"},
		{census{"anon_inode:[eventpoll]": 1}, 0, "1 anon_inode:[eventpoll] instead of 0"},
	} {
		got := ""
		if err := c.after.beyond(before, c.slack); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v after %v: %q, want %q", c.after, before, got, c.want)
		}
	}
}
