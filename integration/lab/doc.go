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
//
// What is where:
//
//	programs.go  Root, Build, Programs: build the three programs, run one or any command to its end
//	process.go   Process: a program that listens until it is stopped
//	stack.go     Config, Stack: servers and balancer as processes of this machine
//	observe.go   Status, Ledger: what a balancer says of itself over HTTP
//	proc.go      what Linux says of processes: memory, open files, kernel drops
//	ask.go       Ask: one datagram and its answer
//	wait.go      Until, Patience
//	free.go      FreePort, Free, Reserve: what no other process of this machine has
//	labtest/     the same for tests: Programs, Start, Within, Eventually
//	containers/  the stack as containers, for tests
package lab
