package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// kept is what the state file holds and how many turns it says there were. The
// file is whole at every moment.
func kept(t *testing.T, path string) (content []byte, turns int, ended bool) {
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
	return content, file.Turns, file.Ended
}

// What a kill leaves is what the state file holds at that moment.
func TestTheOrderGoesOnOverRestarts(t *testing.T) {
	servers, path := startServers(t, "server1", "server2", "server3"), filepath.Join(t.TempDir(), "turns")
	turns := 0
	for _, run := range []struct {
		says, order string
		killed      bool
	}{
		{"", "1231231231", false},
		{"INFO going on after turn 10 of an earlier run: the next is server2's", "2312312312", true},
		{"WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn 20: the next is server3's", "3123", false},
	} {
		r := start(t, "BALANCER_BACKENDS="+servers, "BALANCER_STATE_FILE="+path)
		said := ""
		for _, l := range r.before {
			said += l.text("level") + " " + l.text("msg")
		}
		if said != run.says {
			t.Errorf("it says %q, want %q", said, run.says)
		}
		r.ping(run.order)
		turns += len(run.order)
		var atTheKill []byte
		if run.killed {
			eventually(t, "the turns are in the file", func() bool {
				content, kept, _ := kept(t, path)
				atTheKill = content
				return kept == turns
			})
		}
		r.end()
		if _, kept, ended := kept(t, path); kept != turns || !ended {
			t.Errorf("the run leaves %d turns of %d, ended: %v", kept, turns, ended)
		}
		if run.killed {
			if err := os.WriteFile(path, atTheKill, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// With a page that is looked at, a state file, a line for each turn and a flood
// that never ends.
func TestAStopUnderFlood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	r := start(t, "BALANCER_BACKENDS="+startServers(t, "server1", "server2", "server3"), "BALANCER_STATE_FILE="+path)
	reader, err := direct.Get(r.page + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Body.Close()
	conn := r.client()
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for err := error(nil); err == nil; { // refused once the balancer has gone, if the system says so
			_, err = conn.Write([]byte("flood"))
		}
	}()
	eventually(t, "turns of the flood are in the file", func() bool { _, turns, _ := kept(t, path); return turns > 0 })
	began := time.Now()
	r.end()
	t.Logf("stopped in %v", time.Since(began))
	conn.Close()
	<-flooded
	if _, _, ended := kept(t, path); !ended {
		t.Error("the state file does not say that the run came to its end")
	}
}
