package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"udplab/services/kit/nettest"
	"udplab/services/kit/program"
)

// affinity is the set of cores that the calling thread may run on.
func affinity() (set unix.CPUSet, err error) {
	err = os.NewSyscallError("sched_getaffinity", unix.SchedGetaffinity(0, &set))
	return set, err
}

// setAffinity says where a thread may run; 0 is the calling one.
func setAffinity(tid int, set unix.CPUSet) error {
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(tid, &set))
}

func coreSet(core int) (set unix.CPUSet) {
	set.Set(core)
	return set
}

// cores chooses the cores for contestants and for the load: the last and the
// first that we may use, since the first is where most interrupts go. They
// are one where there is only one.
func cores() (contestants, load int, err error) {
	set, err := affinity()
	if err != nil {
		return 0, 0, err
	}
	contestants, load = -1, -1
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			contestants = core
			if load < 0 {
				load = core
			}
		}
	}
	return contestants, load, nil
}

// settleOn moves all threads of this process to one core; those that start
// later inherit it.
func settleOn(core int) error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(filepath.Base(task))
		if err := setAffinity(tid, coreSet(core)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// raiseFileLimit lets this process and its children have so many files open,
// or as many as the system allows, and returns how many that is.
func raiseFileLimit(want uint64) (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur >= want {
		return limit.Cur, nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: want, Max: max(limit.Max, want)}); err == nil {
		return want, nil
	}
	limit.Cur = min(limit.Max, want) // only the privileged may raise the upper limit
	return limit.Cur, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// portRange reads how many ports the system gives out by itself.
func portRange() (int, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, err
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return 0, fmt.Errorf("ip_local_port_range: %w", err)
	}
	return high - low + 1, nil
}

// inNamespace is the variable that tells a process that it has been started in
// a network namespace of its own.
const inNamespace = "UDPLAB_BENCH_NAMESPACE"

// isolate runs this program again, in a network namespace of its own, and says
// whether it did; if so, err is how that ended. It does not where that is not
// wanted, not possible, or has been done already.
func isolate(ctx context.Context, want netns) (did bool, err error) {
	if os.Getenv(inNamespace) != "" {
		return false, setUpNamespace()
	}
	if want == "off" || want == "auto" && os.Geteuid() != 0 {
		return false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	// The kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	// A process group of its own: Ctrl-C reaches it once, through us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		if want == "auto" {
			return false, nil
		}
		return true, program.CannotStart(fmt.Errorf("--netns: %w", err))
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return true, program.Exit(exit.ExitCode())
	}
	if ctx.Err() != nil {
		return true, program.Exit(1)
	}
	return true, err
}

// setUpNamespace turns the loopback interface of a new network namespace on,
// and lets sockets have nearly every port: some contestants use three for each
// client.
func setUpNamespace() error {
	if err := nettest.LoopbackUp(); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0)
}

// machine describes where the measurement is made.
func machine() (m machineFacts) {
	text, _ := os.ReadFile("/proc/cpuinfo")
	m.CPU, m.Cores, m.Go = cpuModel(string(text)), runtime.NumCPU(), runtime.Version()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	return m
}
