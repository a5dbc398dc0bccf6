package faults

import (
	"slices"
	"testing"
)

// dump is what Go's runtime prints at a SIGQUIT, shortened.
const dump = `SIGQUIT: quit
PC=0x494aa1 m=0 sigcode=0

goroutine 0 gp=0xfd86e0 m=0 mp=0xfd98c0 [idle]:
runtime.futex(0xfd9a18, 0x80, 0x0, 0x0, 0x0, 0x0)
	/usr/local/go/src/runtime/sys_linux_amd64.s:569 +0x21

goroutine 1 gp=0x207a113981e0 m=nil [sync.WaitGroup.Wait]:
sync.(*WaitGroup).Wait(0x207a113a8730)
	/usr/local/go/src/sync/waitgroup.go:206 +0x85
udplab/services/balancer/internal/datapath.(*epoll).Run(0x207a114ce240, {0xadaff8, 0x207a114c4b00})
	/src/services/balancer/internal/datapath/epoll_linux.go:153 +0x312
main.main()
	/src/services/balancer/main.go:33 +0x26
runtime.main()
	/usr/local/go/src/runtime/proc.go:290 +0x2d5

goroutine 2 gp=0x207a11398d20 m=nil [force gc (idle)]:
runtime.forcegchelper()
	/usr/local/go/src/runtime/proc.go:375 +0xb3
created by runtime.init.7 in goroutine 1
	/usr/local/go/src/runtime/proc.go:363 +0x1a

goroutine 30 gp=0x207a11484b40 m=nil [select]:
runtime.selectgo(0x207a113df7a8, 0x207a113df790, 0x0?, 0x0, 0x207a114c00e0?, 0x1)
	/usr/local/go/src/runtime/select.go:351 +0xaa5
udplab/services/balancer/internal/membership.(*Set).probeAll(0x207a11398d20, {0xadaff8, 0x207a114c4b00}, 0x0)
	/src/services/balancer/internal/membership/probe.go:43 +0x1a5
udplab/services/balancer/internal/membership.(*Set).Run.func1()
	/src/services/balancer/internal/membership/backend.go:210 +0x30
sync.(*WaitGroup).Go.func1()
	/usr/local/go/src/sync/waitgroup.go:239 +0x4a
runtime.goexit({})
	/usr/local/go/src/runtime/asm_amd64.s:1771 +0x1
created by sync.(*WaitGroup).Go in goroutine 9
	/usr/local/go/src/sync/waitgroup.go:237 +0x73

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

goroutine 41 gp=0x207a11484d20 m=nil [IO wait]:
net/http.(*conn).serve(0x207a11484d20, {0xadaff8, 0x207a114c4b00})
	/usr/local/go/src/net/http/server.go:2102 +0x62d
created by net/http.(*Server).Serve in goroutine 13
	/usr/local/go/src/net/http/server.go:3454 +0x485

goroutine 42 gp=0x207a11484d20 m=4 mp=0x207a113e1808 [running]:
	goroutine running on other thread; stack unavailable
created by sync.(*WaitGroup).Go in goroutine 1
	/usr/local/go/src/sync/waitgroup.go:237 +0x73

rax    0xca
rbx    0x0
`

func TestGoroutinesAreCountedByWhatTheyDo(t *testing.T) {
	got := goroutines(dump)
	want := census{
		"main.main": 1,
		"udplab/services/balancer/internal/membership.(*Set).Run.func1": 2,
		"unknown": 1,
	}
	if got.total() != want.total() || got.beyond(want) != nil || want.beyond(got) != nil {
		t.Errorf("counted %v, want %v", got, want)
	}
	if got := goroutines("killed\n"); got.total() != 0 {
		t.Errorf("counted %v where there are no stacks", got)
	}
}

func TestWhatThereIsMoreOfIsTold(t *testing.T) {
	before := census{"socket": 7, "file": 1, "pipe": 2}
	for _, c := range []struct {
		after census
		want  []string
	}{
		{census{"socket": 7, "file": 1, "pipe": 2}, nil},
		{census{"socket": 5, "pipe": 2}, nil},
		{census{"socket": 9, "file": 1, "pipe": 2}, []string{"9 socket instead of 7"}},
		{census{"socket": 7, "anon_inode:[eventpoll]": 1, "file": 2}, []string{"1 anon_inode:[eventpoll] instead of 0", "2 file instead of 1"}},
	} {
		if got := c.after.beyond(before); !slices.Equal(got, c.want) {
			t.Errorf("%v after %v: %q, want %q", c.after, before, got, c.want)
		}
	}
	if got := before.least(census{"socket": 4, "file": 9}); got["socket"] != 4 || got["file"] != 1 || got["pipe"] != 0 {
		t.Errorf("least: %v", got)
	}
}
