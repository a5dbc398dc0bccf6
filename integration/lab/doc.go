// Package lab starts, watches and stops a stack: ping servers, the balancer in
// front of them, and clients.
//
//	programs, err := lab.Build(ctx, dir)
//	stack, err := lab.Start(ctx, lab.Config{Programs: programs})
//	defer stack.Close()
//	exit, err := stack.Client(ctx, "--json")
//	status, err := lab.ReadStatus(ctx, stack.URL())
//
// Every port is a free one unless the Config names it: a program that listens
// on port 0 logs which one it got. Close stops every process and waits for it,
// and on Linux the kernel ends them too if this process dies first.
package lab
