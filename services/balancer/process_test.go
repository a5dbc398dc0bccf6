//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What only real processes show: a kill, and a server that the system has
// stopped. The test's own program is started again as one of them.

func init() { roles["balancer"], roles["server"] = main, beServer }

// beServer answers like a ping server, and says first where.
func beServer() {
	conn, err := net.ListenPacket("udp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	fmt.Println(conn.LocalAddr())
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			panic(err)
		}
		conn.WriteTo(append(bytes.ToUpper(buf[:n]), " "+os.Getenv("NAME")...), from)
	}
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

func (p *process) line() string {
	p.t.Helper()
	if !p.lines.Scan() {
		p.t.Fatalf("it ended: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// startServerProcess starts a server, on a free port if that is 0.
func startServerProcess(t *testing.T, name string, port int) (p *process, addr string) {
	t.Helper()
	p = startProcess(t, "server", "NAME="+name, "PORT="+strconv.Itoa(port))
	return p, p.line()
}

// startBalancerProcess starts a balancer with a state file and returns what it
// said before it listened. Its pings go through running.
func startBalancerProcess(t *testing.T, servers, state string, environ ...string) (p *process, r *running, said []string) {
	t.Helper()
	p = startProcess(t, "balancer", append([]string{"BALANCER_BACKENDS=" + servers, "BALANCER_STATE_FILE=" + state,
		"BALANCER_LISTEN=127.0.0.1:0", "BALANCER_HTTP=", "LOG_FORMAT=json"}, environ...)...)
	for {
		var l line
		if err := json.Unmarshal([]byte(p.line()), &l); err != nil {
			t.Fatal(err)
		}
		if l.text("event") == "listening" {
			go func() {
				for p.lines.Scan() { // or it would wait for us
				}
			}()
			return p, &running{t: t, addr: l.text("addr"), page: l.text("http")}, said
		}
		said = append(said, l.text("level")+" "+l.text("msg"))
	}
}

// until waits for what must come and returns how long that took.
func until(t *testing.T, what string, come func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !come() {
		if time.Since(began) > patience {
			t.Fatalf("after %v: not yet %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// kept is how many turns the state file says there were, and whether its run
// ended.
func kept(t *testing.T, path string) (turns uint64, ended bool) {
	t.Helper()
	var file struct {
		Turns uint64
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

func TestAKillLosesASecondOfTurnsAtMostAndTheNextStartSaysSo(t *testing.T) {
	servers := startServers(t, "server1", "server2", "server3")
	path := filepath.Join(t.TempDir(), "turns")
	saved := func() int { turns, _ := kept(t, path); return int(turns) } // whole at every moment

	p, r, _ := startBalancerProcess(t, servers, path)
	if order := r.ping(10); order != "1231231231" {
		t.Errorf("answered by %s", order)
	}
	t.Logf("turns are in the file after %v", until(t, "ten turns in the file", func() bool { return saved() == 10 }))
	p.kill()

	p, r, said := startBalancerProcess(t, servers, path)
	want := "WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn 10: the next is server2's"
	if len(said) != 1 || said[0] != want {
		t.Errorf("it says %q, want %q", said, want)
	}
	// A kill in the midst of it: the file is never ahead of the turns, never
	// goes back, and is whole.
	for turns, before := 10, 10; before == 10; turns++ {
		if order := r.ping(1); order != strconv.Itoa(turns%3+1) {
			t.Fatalf("turn %d was %s's", turns+1, order)
		}
		now := saved()
		if now > turns+1 || now < before {
			t.Fatalf("%d turns in the file after %d, and before that %d", now, turns+1, before)
		}
		before = now
	}
	r.ping(5)
	p.kill()

	last := saved()
	_, r, said = startBalancerProcess(t, servers, path)
	if len(said) != 1 || !strings.Contains(said[0], fmt.Sprintf("going on after turn %d: the next is server%d's", last, last%3+1)) {
		t.Errorf("it says %q after turn %d", said, last)
	}
	if order := r.ping(1); order != strconv.Itoa(last%3+1) {
		t.Errorf("after turn %d it was %s's", last, order)
	}
}

func TestATerminatedBalancerKeepsEveryTurn(t *testing.T) {
	servers := startServers(t, "server1", "server2", "server3")
	path := filepath.Join(t.TempDir(), "turns")
	p, r, _ := startBalancerProcess(t, servers, path)
	r.ping(11)
	p.signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	_, r, said := startBalancerProcess(t, servers, path)
	if want := "INFO going on after turn 11 of an earlier run: the next is server3's"; len(said) != 1 || said[0] != want {
		t.Errorf("it says %q, want %q", said, want)
	}
	if order := r.ping(4); order != "3123" {
		t.Errorf("answered by %s", order)
	}
}

// With a page that is looked at, a state file, a line for each turn and a flood
// that never ends, over both data paths.
func TestAStopUnderFlood(t *testing.T) {
	servers := startServers(t, "server1", "server2", "server3")
	for _, dataPath := range []string{"auto", "portable"} {
		t.Run(dataPath, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "turns")
			p, r, _ := startBalancerProcess(t, servers, file, "BALANCER_HTTP=127.0.0.1:0", "BALANCER_DATAPATH="+dataPath)
			reader, err := http.Get(r.page + "/events")
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Body.Close()
			ctx, cancel := context.WithCancel(t.Context())
			var flood sync.WaitGroup
			defer flood.Wait()
			defer cancel()
			flood.Go(func() {
				for ctx.Err() == nil {
					conn, err := net.Dial("udp", r.addr)
					if err != nil {
						t.Error(err)
						return
					}
					for range 20 {
						conn.Write([]byte("flood")) // refused once the balancer has gone
					}
					conn.Close()
				}
			})
			until(t, "turns of the flood in the file", func() bool { turns, _ := kept(t, file); return turns > 0 })
			p.signal(syscall.SIGTERM)
			stuck := time.AfterFunc(patience, p.kill)
			began := time.Now()
			if err := p.Wait(); err != nil || !stuck.Stop() {
				t.Errorf("after %v it ended with %v", time.Since(began), err)
			}
			t.Logf("it took %v to stop", time.Since(began))
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
	server, addr = startServerProcess(t, "server2", 0)
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
	if err := json.Unmarshal([]byte(get(r.t, r.page+"/api/status")), &status); err != nil {
		r.t.Fatal(err)
	}
	return status.Backends[1].Up, status.Backends[1].Reason
}

func TestAServerThatTheSystemStoppedIsOutOfTurnUntilItGoesOn(t *testing.T) {
	r, server, _ := withServerProcess(t, "BALANCER_PROBE=healthcheck")
	if order := r.ping(3); order != "123" {
		t.Fatalf("answered by %s", order)
	}
	server.signal(syscall.SIGSTOP)
	t.Logf("frozen: down after %v", until(t, "down", func() bool { up, _ := r.isUp(); return !up }))
	if _, why := r.isUp(); why != "3 probes in a row unanswered" {
		t.Errorf("it is down because of %q", why)
	}
	if order := r.ping(4); order != "1313" {
		t.Errorf("answered by %s while it is frozen", order)
	}
	server.signal(syscall.SIGCONT)
	t.Logf("going on: up again after %v", until(t, "up", func() bool { up, _ := r.isUp(); return up }))
	if order := r.ping(4); order != "1231" {
		t.Errorf("answered by %s since it goes on", order)
	}
}

func TestAServerThatDiedIsOutOfTurnFromTheNextDatagramOn(t *testing.T) {
	for name, environ := range map[string]string{
		"with probes": "BALANCER_PROBE=healthcheck", "without": "BALANCER_PROBE=",
		"portable, without": "BALANCER_DATAPATH=portable",
	} {
		t.Run(name, func(t *testing.T) {
			r, server, addr := withServerProcess(t, environ)
			if order := r.ping(3); order != "123" {
				t.Fatalf("answered by %s", order)
			}
			server.kill()
			r.ping(1) // server1's
			// The datagram that finds it dead is lost. No other is, and none
			// is needed: the refusal is there before the next one is sent.
			conn, err := net.Dial("udp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.Write([]byte("the last one"))
			took := until(t, "down", func() bool { up, _ := r.isUp(); return !up })
			t.Logf("down %v after the datagram that found it dead", took)
			if _, why := r.isUp(); why != "connection refused" {
				t.Errorf("it is down because of %q", why)
			}
			if order := r.ping(2); !strings.Contains("3131", order) {
				t.Errorf("answered by %s while it is dead", order)
			}

			_, port, _ := net.SplitHostPort(addr)
			number, _ := strconv.Atoi(port)
			startServerProcess(t, "server2", number)
			took = until(t, "in turn again", func() bool { return r.trial() == "2" })
			t.Logf("in turn again %v after it answers again", took)
			up, why := r.isUp()
			if order := r.ping(6); !up || !strings.Contains("123123123", order) {
				t.Errorf("up %v (%s), answered by %s", up, why, order)
			}
		})
	}
}

// trial is who answers one ping, if anybody does soon.
func (r *running) trial() string {
	conn, err := net.Dial("udp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("ping"))
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(string(buf[:n]), "PING server")
}
