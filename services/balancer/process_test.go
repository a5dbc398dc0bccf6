//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What only real processes show: a kill, and a server that the system has
// stopped. The test's own program is started again as one of them.

func init() { roles["balancer"], roles["server"] = main, beServer }

// beServer is a server that says first where it is.
func beServer() {
	conn, err := net.ListenPacket("udp", os.Getenv("LISTEN"))
	if err != nil {
		panic(err)
	}
	fmt.Println(conn.LocalAddr())
	serve(conn, os.Getenv("NAME"))
}

// process is a program that was started, and what it says.
type process struct {
	*exec.Cmd
	t     *testing.T
	lines *bufio.Scanner
}

func startProcess(t *testing.T, role string, environ ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), t: t}
	p.Env = append(environ, roleVariable+"="+role)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends it without a chance to do anything, if it has not ended.
func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// terminate asks it to stop and waits until it has.
func (p *process) terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	stuck := time.AfterFunc(patience, p.kill)
	began := time.Now()
	err := p.Wait()
	if p.t.Logf("it ended after %v", time.Since(began)); err != nil || !stuck.Stop() {
		p.t.Errorf("it ended with %v", err)
	}
}

func (p *process) line() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("it ended: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// startBalancer starts a balancer with a state file and wants it to say this
// before it listens. Its pings go through running.
func startBalancer(t *testing.T, servers, state, want string, environ ...string) (*process, *running) {
	t.Helper()
	p := startProcess(t, "balancer", append([]string{"BALANCER_BACKENDS=" + servers, "BALANCER_STATE_FILE=" + state,
		"BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=", "LOG_FORMAT=json"}, environ...)...)
	for said := ""; ; {
		var l line
		if err := json.Unmarshal([]byte(p.line()), &l); err != nil {
			t.Fatal(err)
		}
		if l.text("event") != "listening" {
			said += l.text("level") + " " + l.text("msg")
			continue
		}
		if said != want {
			t.Errorf("it says %q, want %q", said, want)
		}
		go func() {
			for p.lines.Scan() { // or it would wait for us
			}
		}()
		return p, &running{t: t, addr: l.text("addr"), page: l.text("http")}
	}
}

// kept is how many turns the state file says there were, and whether its run
// ended. The file is whole at every moment.
func kept(t *testing.T, path string) (turns int, ended bool) {
	t.Helper()
	var file struct {
		Turns int
		Ended bool
	}
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Turns, file.Ended
}

func TestTheOrderGoesOnOverRestarts(t *testing.T) {
	servers, path := startServers(t, "server1", "server2", "server3"), filepath.Join(t.TempDir(), "turns")
	for i, order := range []string{"1231231231", "2312312312", "3123123123"} {
		said := ""
		if i > 0 {
			said = fmt.Sprintf("INFO going on after turn %d of an earlier run: the next is server%d's", 10*i, i+1)
		}
		p, r := startBalancer(t, servers, path, said)
		r.ping(order)
		p.terminate()
		if turns, ended := kept(t, path); turns != 10*(i+1) || !ended {
			t.Errorf("run %d leaves %d turns, ended: %v", i+1, turns, ended)
		}
	}
}

func TestAKillLosesASecondOfTurnsAtMostAndTheNextStartSaysSo(t *testing.T) {
	const cutOff = "WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn %d: the next is server%d's"
	servers, path := startServers(t, "server1", "server2", "server3"), filepath.Join(t.TempDir(), "turns")
	p, r := startBalancer(t, servers, path, "")
	r.ping("1231231231")
	t.Logf("turns are in the file after %v", eventually(t, "ten turns in the file", func() bool { turns, _ := kept(t, path); return turns == 10 }))
	p.kill()

	p, r = startBalancer(t, servers, path, fmt.Sprintf(cutOff, 10, 2))
	// A kill in the midst of it: the file is never ahead of the turns, and never
	// goes back.
	for turns, before := 10, 10; before == 10; {
		turns++
		r.ping(strconv.Itoa((turns-1)%3 + 1))
		now, _ := kept(t, path)
		if now > turns || now < before {
			t.Fatalf("%d turns in the file after %d, and before that %d", now, turns, before)
		}
		before = now
	}
	p.kill()

	last, _ := kept(t, path)
	_, r = startBalancer(t, servers, path, fmt.Sprintf(cutOff, last, last%3+1))
	r.ping(strconv.Itoa(last%3 + 1))
}

// With a page that is looked at, a state file, a line for each turn and a flood
// that never ends, over both data paths.
func TestAStopUnderFlood(t *testing.T) {
	servers := startServers(t, "server1", "server2", "server3")
	for _, dataPath := range []string{"auto", "portable"} {
		t.Run(dataPath, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "turns")
			p, r := startBalancer(t, servers, file, "", "BALANCER_HTTP=127.0.0.1:0", "BALANCER_DATAPATH="+dataPath)
			reader, err := direct.Get(r.page + "/events")
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Body.Close()
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					conn, err := net.Dial("udp", r.addr)
					if err != nil {
						t.Error(err)
						return
					}
					for range 20 {
						conn.Write([]byte("flood")) // refused once the balancer has gone
					}
					conn.Close()
					select {
					case <-stop:
						return
					default:
					}
				}
			}()
			defer func() { close(stop); <-stopped }()
			eventually(t, "turns of the flood in the file", func() bool { turns, _ := kept(t, file); return turns > 0 })
			p.terminate()
			if _, ended := kept(t, file); !ended {
				t.Error("the state file does not say that the run came to its end")
			}
		})
	}
}

// withServerProcess runs a balancer over two servers of the test's own and,
// between them, a process.
func withServerProcess(t *testing.T, environ ...string) (r *running, server *process, addr string) {
	t.Helper()
	ours := strings.Split(startServers(t, "server1", "server3"), ",")
	server = startProcess(t, "server", "NAME=server2", "LISTEN=127.0.0.1:0")
	addr = server.line()
	list := strings.Join([]string{ours[0], "server2=" + addr, ours[1]}, ",")
	r = start(t, append(environ, "BALANCER_BACKENDS="+list)...)
	go func() {
		for range r.lines { // or it would wait for us
		}
	}()
	return r, server, addr
}

// isUp says what the balancer thinks of its second server, and why.
func (r *running) isUp() (up bool, reason string) {
	r.t.Helper()
	var status struct {
		Backends []struct {
			Up     bool
			Reason string
		}
	}
	if err := json.Unmarshal([]byte(r.get("/api/status")), &status); err != nil {
		r.t.Fatal(err)
	}
	return status.Backends[1].Up, status.Backends[1].Reason
}

// becomes waits until the second server is up, or down for a reason.
func (r *running) becomes(want bool, reason string) {
	r.t.Helper()
	took := eventually(r.t, fmt.Sprintf("up: %v", want), func() bool { up, _ := r.isUp(); return up == want })
	_, why := r.isUp()
	r.t.Logf("up: %v after %v", want, took)
	if !want && why != reason {
		r.t.Errorf("it is down because of %q", why)
	}
}

func TestAServerThatTheSystemStoppedIsOutOfTurnUntilItGoesOn(t *testing.T) {
	r, server, _ := withServerProcess(t, "BALANCER_PROBE=healthcheck", "BALANCER_PROBE_INTERVAL=500ms")
	r.ping("123")
	server.signal(syscall.SIGSTOP)
	r.becomes(false, "3 probes in a row unanswered")
	r.ping("1313")
	server.signal(syscall.SIGCONT)
	r.becomes(true, "")
	r.ping("1231")
}

func TestAServerThatDiedIsOutOfTurnFromTheNextDatagramOn(t *testing.T) {
	for name, environ := range map[string]string{
		"with probes": "BALANCER_PROBE=healthcheck", "without": "BALANCER_PROBE=",
		"portable, without": "BALANCER_DATAPATH=portable",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for a trial or for probes
			r, server, addr := withServerProcess(t, environ)
			r.ping("123")
			server.kill()
			r.ping("1")
			// The datagram that finds it dead is lost. No other is, and none is
			// needed: the refusal is there before the next one is sent. (A probe
			// may have found it first; then that datagram is server3's.)
			conn := r.client()
			conn.Write([]byte("the last one"))
			r.becomes(false, "connection refused")
			r.ping("31", "13")

			startProcess(t, "server", "NAME=server2", "LISTEN="+addr).line()
			buf := make([]byte, 100)
			took := eventually(t, "in turn again", func() bool {
				conn.Write([]byte("ping"))
				conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				n, _ := conn.Read(buf)
				return string(buf[:n]) == "PING server2"
			})
			t.Logf("in turn again %v after it answers again", took)
			r.becomes(true, "")
			r.ping("123123", "231231", "312312")
		})
	}
}
