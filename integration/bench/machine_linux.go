package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"udplab/services/kit/nettest"
)

// affinity is the set of cores that the calling thread may run on.
func affinity() (set unix.CPUSet, err error) {
	return set, os.NewSyscallError("sched_getaffinity", unix.SchedGetaffinity(0, &set))
}

// setAffinity says where the calling thread, and what it starts, may run.
func setAffinity(set unix.CPUSet) error {
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &set))
}

func coreSet(core int) (set unix.CPUSet) {
	set.Set(core)
	return set
}

// startOn starts a command on one core.
func startOn(core int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := affinity()
	if err != nil {
		return err
	}
	return errors.Join(setAffinity(coreSet(core)), cmd.Start(), setAffinity(before))
}

// runApart says how the machine is used, as benchmark configuration, and runs
// this program again in the same process: on the load's core only, and in a
// network namespace of its own where that is permitted. It returns only if that
// fails. Contestants get the last core that may be used and the load the first,
// where most interrupts go. Where there is only one, they share it.
func runApart(w io.Writer, dir string) error {
	runtime.LockOSThread() // exec goes on with what this thread is allowed
	defer runtime.UnlockOSThread()
	usable, err := affinity()
	if err != nil {
		return err
	}
	first, last := -1, -1
	for core := range len(usable) * 64 {
		if usable.IsSet(core) {
			if first < 0 {
				first = core
			}
			last = core
		}
	}
	network := "the machine's loopback, with whatever rules its firewall has"
	if unix.Unshare(unix.CLONE_NEWNET) == nil {
		network = "loopback in a network namespace of its own"
		// Sockets may have nearly every port: some contestants use three for each client.
		err = errors.Join(nettest.LoopbackUp(), os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0))
	}
	model := "unknown"
	if proc, err := procfs.NewDefaultFS(); err == nil {
		if cpus, err := proc.CPUInfo(); err == nil && len(cpus) > 0 {
			model = cpus[0].ModelName
		}
	}
	var system unix.Utsname
	if err := errors.Join(err, unix.Uname(&system), setAffinity(coreSet(first))); err != nil {
		return err
	}
	fmt.Fprintf(w, "goos: linux\ngoarch: %s\npkg: udplab/integration/bench\ncpu: %s\nkernel: %s\ngo: %s\ncores: %d; contestants on core %d, clients and servers on core %d\nnetwork: %s\n",
		runtime.GOARCH, model, unix.ByteSliceToString(system.Release[:]), runtime.Version(), usable.Count(), last, first, network)
	return os.NewSyscallError("execve", syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), fmt.Sprintf("%s=%d %s", prepared, last, dir))))
}

// cpuTime is how long the threads of a process have run, by the clock that
// clock_getcpuclockid(3) returns: CPUCLOCK_SCHED of that process. For no
// process, 0, it is 0.
func cpuTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|2), &t)
	return time.Duration(t.Nano()), os.NewSyscallError("clock_gettime", err)
}

// limits is what the system allows.
type limits struct {
	files int // that one process may have open
	ports int // that are given out by themselves, to all sockets together
}

// systemLimits lets this process and its children have as many files open as the
// system allows, and returns that.
func systemLimits() (limits, error) {
	var files syscall.Rlimit
	err1 := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	files.Cur = min(files.Max, 1<<16) // the hungriest contestant has three sockets for each client
	err2 := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
	var first, last int
	text, err3 := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	_, err4 := fmt.Sscan(string(text), &first, &last)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return limits{}, err
	}
	return limits{files: int(files.Cur), ports: last - first + 1}, nil
}

// refuse says why a contestant cannot serve a case here; empty means that it can.
func (l limits) refuse(c contestant, lc loadCase) string {
	files, ports := lc.clients*max(c.sockets, 1)+spare, lc.clients*(c.sockets+1)+spare
	switch {
	case files > l.files:
		return fmt.Sprintf("it takes %d open files in one process, and %d are allowed (ulimit -Hn)", files, l.files)
	case ports > l.ports:
		return fmt.Sprintf("it takes %d ports, and there are %d (net.ipv4.ip_local_port_range)", ports, l.ports)
	}
	return ""
}
