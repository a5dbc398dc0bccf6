package nettest

import (
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var _ = flag.Bool("nettest", false, "a flag of this test binary's own")

func TestATestHasItsOwnNetworkAndResolver(t *testing.T) {
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip(err)
	}
	t.Run("in a subtest (of any name)", func(t *testing.T) {
		Run(t, func(t *testing.T) {
			if interfaces, err := net.Interfaces(); err != nil || len(interfaces) != 1 {
				t.Errorf("interfaces %v, error %v", interfaces, err)
			}
			// A listener on a low port, and its address reachable: lo is up.
			listener, err := net.Listen("tcp", "127.0.0.1:53")
			must(t, "listener", err)
			defer listener.Close()
			conn, err := net.Dial("tcp", "127.0.0.1:53")
			must(t, "connection", err)
			conn.Close()
			UseResolver(t, "127.0.0.1")
			if text, err := os.ReadFile("/etc/resolv.conf"); err != nil || !strings.HasPrefix(string(text), "nameserver 127.0.0.1\n") {
				t.Errorf("the resolver is %q, error %v", text, err)
			}
		})
	})
	if after, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(after) != string(before) {
		t.Errorf("the machine's resolver is now %q, error %v", after, err)
	}
}

func TestTheResultOfATestIsThatOfItsProcess(t *testing.T) {
	broken := errors.New("exit status 1")
	for _, tt := range []struct {
		name, output string
		ended        error
		skipped, ok  bool
	}{
		{"passed", "=== RUN TestX\n--- PASS: TestX (0.00s)\nPASS\n", nil, false, true},
		{"skipped", "=== RUN TestX\n--- SKIP: TestX (0.00s)\nPASS\n", nil, true, true},
		{"a subtest skipped", "    --- SKIP: TestX/sub (0.00s)\n--- PASS: TestX (0.00s)\n", nil, false, true},
		{"failed", "--- FAIL: TestX (0.00s)\nFAIL\n", broken, false, false},
		{"crashed after it passed", "--- PASS: TestX (0.00s)\npanic: late\n", broken, false, false},
		{"did not run", "testing: warning: no tests to run\nPASS\n", nil, false, false},
		{"another test", "--- PASS: TestXY (0.00s)\nPASS\n", nil, false, false},
	} {
		skipped, err := result("TestX", tt.output, tt.ended)
		if skipped != tt.skipped || (err == nil) != tt.ok {
			t.Errorf("%s: skipped %v, error %v", tt.name, skipped, err)
		}
	}
}

func TestAProcessRunsExactlyItsTest(t *testing.T) {
	if err := flag.Set("nettest", "true"); err != nil {
		t.Fatal(err)
	}
	args := strings.Join(arguments("TestX/a.b(c)", time.Minute), " ")
	if want := `-test.run=^TestX$/^a\.b\(c\)$ -test.v -test.timeout=1m0s`; !strings.HasPrefix(args, want) {
		t.Errorf("%s, want %s", args, want)
	}
	if !strings.Contains(args, "-nettest=true") {
		t.Errorf("%s: the flag is missing", args)
	}
}

func TestACommandStartsInATestsNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	networks := map[string]bool{}
	machine, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, "network", err)
	for range 2 {
		var output strings.Builder
		cmd := exec.Command("readlink", "/proc/self/ns/net")
		cmd.Stdout = &output
		must(t, "start", NewNetwork(t).Start(cmd))
		must(t, "command", cmd.Wait())
		networks[strings.TrimSpace(output.String())] = true
	}
	if len(networks) != 2 || networks[machine] {
		t.Errorf("the machine's network is %s, the commands' are %v", machine, networks)
	}
}
