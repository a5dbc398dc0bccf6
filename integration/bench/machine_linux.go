package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"udplab/services/kit/nettest"
	"udplab/services/kit/program"
)

// affinity is the set of cores that the calling thread may run on.
func affinity() (set unix.CPUSet, err error) {
	return set, os.NewSyscallError("sched_getaffinity", unix.SchedGetaffinity(0, &set))
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
// first that this process may use, since the first is where most interrupts go.
// They are one where there is only one.
func cores() (contestants, load int, err error) {
	set, err := affinity()
	var usable []int
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			usable = append(usable, core)
		}
	}
	if err != nil || len(usable) == 0 {
		return 0, 0, errors.Join(err, errors.New("no usable core"))
	}
	return slices.Max(usable), slices.Min(usable), nil
}

// settleOn moves all threads of this process to one core; those that start
// later inherit it.
func settleOn(core int) error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		tid, _ := strconv.Atoi(filepath.Base(task))
		if err := setAffinity(tid, coreSet(core)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return err
}

// cpuTime is how long a process's threads have run, as the scheduler counts it.
func cpuTime(proc procfs.FS, pid int) (sum time.Duration, err error) {
	threads, err := proc.AllThreads(pid)
	for _, thread := range threads {
		stat, err := thread.Schedstat()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // a thread that has just ended
		}
		if err != nil {
			return 0, err
		}
		sum += time.Duration(stat.RunningNanoseconds)
	}
	return sum, err
}

// busy is how long these cores have done anything but wait, together. Time that
// the hypervisor gave to others counts, for it was not there for us.
func busy(proc procfs.FS, cores ...int) (time.Duration, error) {
	stat, err := proc.Stat()
	seconds := 0.0
	for _, core := range slices.Compact(cores) {
		c := stat.CPU[int64(core)]
		seconds += c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
	}
	return time.Duration(seconds * float64(time.Second)), err
}

// systemLimits lets this process and its children have as many files open as
// the hungriest contestant wants, if the system allows it, and returns what it
// does allow.
func systemLimits() (l limits, err error) {
	const want = 1 << 16 // our portable data path takes three sockets for each client
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return l, err
	}
	for _, most := range []uint64{max(limit.Max, want), limit.Max} { // only the privileged may raise the upper limit
		raised := syscall.Rlimit{Cur: max(limit.Cur, min(most, want)), Max: most}
		if err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
			break
		}
	}
	if err != nil {
		return l, err
	}
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return l, err
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return l, fmt.Errorf("ip_local_port_range: %w", err)
	}
	return limits{files: int(limit.Cur), ports: high - low + 1}, nil
}

// inNamespace is the variable that tells a process that it has been started in
// a network namespace of its own.
const inNamespace = "UDPLAB_BENCH_NAMESPACE"

// isolate runs this program again, in a network namespace of its own, and says
// whether it did; if so, err is how that ended. It does not where that is not
// wanted, not possible, or has been done already.
func isolate(ctx context.Context, want string) (did bool, err error) {
	if os.Getenv(inNamespace) != "" {
		return false, setUpNamespace()
	}
	if want == "off" || want == "auto" && os.Geteuid() != 0 {
		return false, nil
	}
	runtime.LockOSThread() // the kernel kills the child when the thread that started it ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	nettest.Isolate(cmd) // in a process group of its own: Ctrl-C reaches it once, through us
	if err := cmd.Start(); err != nil {
		if want == "auto" {
			return false, nil
		}
		return true, program.CannotStart(fmt.Errorf("--netns: %w", err))
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return true, program.Exit(code)
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
