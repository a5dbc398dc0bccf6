//go:build unix

package main

import (
	"bufio"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

const refusedErrno = syscall.ECONNREFUSED

func TestSIGQUITAsksHowFarItIsAndTheRunGoesOn(t *testing.T) {
	stderr, w := io.Pipe()
	defer stderr.Close()
	shown := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stderr).ReadString('\n')
		shown <- line
	}()
	// The second ping is answered only once the status line was seen.
	target := serve(t, func(n int, request string) []string {
		if n == 1 {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGQUIT); err != nil {
				t.Error(err)
			}
			select {
			case line := <-shown:
				if !strings.HasPrefix(line, "1 of 1 ping answered so far, rtt min/avg/max = ") {
					t.Errorf("status line %q", line)
				}
			case <-time.After(10 * time.Second):
				t.Error("no status line")
			}
		}
		return []string{upper(request) + " server1"}
	})
	s := &session{args: "-c 3 -i 0 -W 30s " + target, dial: dial, stderrPipe: w}
	s.run(t.Context())
	if s.code != 0 || !strings.Contains(s.stdout, "3 sent, 3 received, 0% loss") {
		t.Errorf("exit code %d\n%s%s", s.code, s.stdout, s.stderr)
	}
	if strings.Contains(s.stdout, "so far") {
		t.Errorf("the status line is on stdout:\n%s", s.stdout)
	}
}
