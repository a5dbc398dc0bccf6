package persist

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var three = []string{"server1", "server2", "server3"}

// after is the cursor after so many turns of three servers that were all up.
func after(turns uint64) Cursor {
	if turns == 0 {
		return Cursor{Names: three}
	}
	return Cursor{turns, three[(turns-1)%3], three}
}

// at is the path of a state file with this content, alone in a new directory.
func at(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "turns")
	put(t, path, content)
	return path
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func contentOf(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// written is the file of a run that is at the cursor and goes on.
func written(t testing.TB, c Cursor) string {
	t.Helper()
	content, err := json.Marshal(file{Format: format, Turns: c.Turns, Last: c.Last, Backends: c.Names})
	if err != nil {
		t.Fatal(err)
	}
	return string(content) + "\n"
}

// reopen opens the file with three servers and wants the cursor and no warning.
func reopen(t *testing.T, path string, want Cursor) *Store {
	t.Helper()
	s, c, _, err := open(path, three, system)
	if s == nil || err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("opened with %+v, store %v, warning %v; want %+v", c, s, err, want)
	}
	return s
}

// save saves and wants no error.
func (s *Store) mustSave(t *testing.T, c Cursor) {
	t.Helper()
	if err := s.save(c, false); err != nil {
		t.Fatal(err)
	}
}

// alone wants so many files in the directory of path.
func alone(t *testing.T, path string, n int) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != n {
		t.Errorf("the directory holds %v, error %v; want %d", entries, err, n)
	}
}

func TestTheOrderGoesOnWhereItWasSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	s := reopen(t, path, after(0)) // a missing file is the beginning, and is made
	for _, turns := range []uint64{0, 1, 2, 3, 17, 18, maxTurns} {
		s.mustSave(t, after(turns))
		want := fmt.Sprintf(`{"format":"udplab-turns-1","turns":%d,"last":%q,"backends":["server1","server2","server3"],"ended":false}`+"\n", turns, after(turns).Last)
		if got := contentOf(t, path); got != want {
			t.Errorf("the file holds %s want %s", got, want)
		}
		s = reopen(t, path, after(turns))
	}
	odd := Cursor{3, `back\slash`, []string{`a&b<c>`, `Größe`, `日本`, `back\slash`, "a'b"}}
	if _, c, _, err := open(at(t, written(t, odd)), odd.Names, system); err != nil || !reflect.DeepEqual(c, odd) {
		t.Errorf("cursor %+v, error %v", c, err)
	}
}

func TestTheServerAfterTheLastIsNextInTodaysList(t *testing.T) {
	for _, tt := range []struct {
		name  string
		turns uint64 // of the run before
		today string
		next  string
	}{
		{"the same list", 5, "server1 server2 server3", "server3"},
		{"no turn yet", 0, "b a", "b"},
		{"no turn yet, reordered", 0, "server3 server1 server2", "server3"},
		{"reordered: the one after the last in the new order", 5, "server2 server1 server3", "server1"},
		{"reordered: round the end", 5, "server3 server1 server2", "server3"},
		{"a new server after the last", 5, "server1 server2 new server3", "new"},
		{"a new server elsewhere", 5, "new server1 server2 server3", "server3"},
		{"the last is gone: the one that came after it", 5, "server1 server3", "server3"},
		{"the last is gone: the one that came after it, reordered", 5, "server3 server1", "server3"},
		{"the last and the one after it are gone", 5, "new server1", "server1"},
		{"the last is gone and was the last of the list", 6, "server2 server1", "server1"},
		{"all are new: the first", 5, "a b", "a"},
		{"only the last is left", 5, "server2", "server2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, today := at(t, written(t, after(tt.turns))), strings.Fields(tt.today)
			s, c, _, err := open(path, today, system)
			if got := today[c.Next(today)]; s == nil || got != tt.next || c.Turns != tt.turns {
				t.Fatalf("after turn %d it is %s's, want %d and %s's; store %v", c.Turns, got, tt.turns, tt.next, s)
			}
			want := ""
			if tt.turns > 0 && tt.today != strings.Join(three, " ") {
				want = fmt.Sprintf(`the servers have changed from "server1,server2,server3" to %q; the last turn was %q's, the next is %s's`, strings.Join(today, ","), after(tt.turns).Last, tt.next)
			}
			if got := fmt.Sprint(cmp.Or(err, errors.New(""))); got != want {
				t.Errorf("warning %q, want %q", got, want)
			}
			if tt.turns > 0 {
				reopen(t, path, after(tt.turns)) // with the list as it was: no turn came in between
			}
		})
	}
}

// A list that changes while the balancer runs: what counts is that of the turn.
func TestASaveWithoutATurnKeepsTheListOfTheLastTurn(t *testing.T) {
	path := at(t, "")
	s, _, _, _ := open(path, three, system)
	s.mustSave(t, after(5))
	if err := s.save(Cursor{5, "server1", []string{"server1", "server3"}}, true); err != nil {
		t.Fatal(err)
	}
	reopen(t, path, after(5)).mustSave(t, Cursor{6, "server3", []string{"server1", "server3"}})
	if _, c, _, _ := open(path, three, system); c.Last != "server3" || len(c.Names) != 2 {
		t.Errorf("cursor %+v", c)
	}
}

func TestWhatCannotBeUsed(t *testing.T) {
	const damaged, foreign = "state file PATH is damaged; turns start from server1", "state file PATH is not ours and is left alone; turns start from server1 and are not kept"
	ours := func(rest string) string { return `{"format":"udplab-turns-1",` + rest }
	for _, tt := range []struct{ name, content, warning string }{
		{"garbled after the format", ours(`"turns":` + "\x00\xff\x1b[2J"), damaged},
		{"something behind the end", ours(`"turns":0,"last":"","backends":[]}}`), damaged},
		{"a negative number", ours(`"turns":-5,"last":"server1","backends":["server1"]}`), damaged},
		{"a number with a fraction", ours(`"turns":1.5,"last":"server1","backends":["server1"]}`), damaged},
		{"a number that no turn reaches", ours(`"turns":9007199254740993,"last":"server1","backends":["server1"]}`), damaged},
		{"the largest number", ours(`"turns":18446744073709551615,"last":"server1","backends":["server1"]}`), damaged},
		{"a larger number", ours(`"turns":18446744073709551616,"last":"server1","backends":["server1"]}`), damaged},
		{"turns that nobody had", ours(`"turns":5,"last":"","backends":["server1"]}`), damaged},
		{"a last one that was none of them", ours(`"turns":5,"last":"server2","backends":["server1"]}`), damaged},
		{"a last one before the first turn", ours(`"turns":0,"last":"server2","backends":["server1","server2"]}`), damaged},
		{"no list", ours(`"turns":5,"last":"server2"}`), damaged},
		{"a wrong type, by another's hand", `{ "format": "udplab-turns-1", "turns": "five" }`, damaged},
		{"larger than any of ours", ours(`"turns":1,"last":"` + strings.Repeat("x", maxSize) + `"`), damaged},
		{"a shell script", "# a shell script\n", foreign},
		{"a program", "\x7fELF\x02\x01\x01", foreign},
		{"an empty object", "{}\n", foreign},
		{"null", "null", foreign},
		{"a list", "[1,2,3]", foreign},
		{"a later format", `{"format":"udplab-turns-2","turns":5}`, foreign},
		{"a longer format", `{"format":"udplab-turns-10"`, foreign},
		{"other JSON", `{"name":"package.json"}`, foreign},
		{"our format as a string", `"udplab-turns-1"`, foreign},
		{"a space", " ", foreign},
		{"a zero", "\x00", foreign},
		{"large", strings.Repeat("x", maxSize+1), foreign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := at(t, tt.content)
			s, c, _, err := open(path, three, system)
			if want := strings.Replace(tt.warning, "PATH", path, 1); err == nil || err.Error() != want {
				t.Errorf("warning %v, want %s", err, want)
			}
			if !reflect.DeepEqual(c, after(0)) || (s == nil) != (tt.warning == foreign) {
				t.Errorf("store %v, cursor %+v", s, c)
			}
			if tt.warning == damaged {
				reopen(t, path, after(0))
			} else if contentOf(t, path) != tt.content {
				t.Error("it was changed")
			}
		})
	}
	// Every beginning of a file of ours is ours.
	whole := written(t, after(17))
	for n := range len(whole) + 1 {
		s, c, _, err := open(at(t, whole[:n]), three, system)
		if complete := n >= len(whole)-1; s == nil || complete != (err == nil) || complete != (c.Turns == 17) {
			t.Errorf("%q: store %v, cursor %+v, warning %v", whole[:n], s, c, err)
		}
	}
	// Nothing of a file can make a mess of the log.
	names := `"last":"\u001b[2J\n","backends":["\u001b[2J\n"]}`
	if _, c, _, err := open(at(t, ours(`"turns":5,`+names)), three, system); err == nil || c.Turns != 5 || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("cursor %+v, warning %q", c, err)
	}
}

func TestAPlaceWhereNothingCanBeKeptIsKnownAtTheStart(t *testing.T) {
	closed, itself := t.TempDir(), filepath.Join(t.TempDir(), "turns")
	short, err := os.MkdirTemp("", "turns") // a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	listener, err := net.Listen("unix", filepath.Join(short, "s"))
	if err := cmp.Or(err, os.Chmod(closed, 0o555), os.Symlink(itself, itself)); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, tt := range []struct {
		name, path, why string
		superuser       bool // it stops the superuser too
	}{
		{"a directory that does not exist", filepath.Join(t.TempDir(), "none", "turns"), "cannot be written", true},
		{"a file in place of the directory", filepath.Join(at(t, "x"), "turns"), "not a directory", true},
		{"a directory in place of the file", t.TempDir(), "is not a regular file", true},
		{"a socket", filepath.Join(short, "s"), "is not a regular file", true},
		{"a link to itself", itself, "cannot be read", true},
		{"a directory that must not be written to", filepath.Join(closed, "turns"), "permission denied", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.superuser && os.Geteuid() == 0 {
				t.Skip("the superuser may write anywhere")
			}
			s, c, _, err := open(tt.path, three, system)
			if s != nil || !reflect.DeepEqual(c, after(0)) || err == nil {
				t.Fatalf("store %v, cursor %+v, error %v: want nothing to be kept", s, c, err)
			}
			for _, part := range []string{"state file " + tt.path, tt.why, "; turns start from server1 and are not kept"} {
				if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%q, want one line with %q", err, part)
				}
			}
		})
	}
}

func TestALinkIsFollowed(t *testing.T) {
	for _, tt := range []struct {
		name, link, next string // next: a second link, elsewhere/link
		want             Cursor
	}{
		{"to a file", "DIR/elsewhere/there", "", after(17)},
		{"to a file that is not there yet", "DIR/elsewhere/there", "", after(0)},
		{"to a link, both relative", "elsewhere/link", "there", after(17)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			link, there := filepath.Join(dir, "turns"), filepath.Join(dir, "elsewhere", "there")
			err := cmp.Or(os.Mkdir(filepath.Dir(there), 0o755), os.Symlink(strings.Replace(tt.link, "DIR", dir, 1), link))
			if tt.next != "" {
				err = cmp.Or(err, os.Symlink(tt.next, filepath.Join(dir, "elsewhere", "link")))
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.want.Turns > 0 {
				put(t, there, written(t, tt.want))
			}
			reopen(t, link, tt.want).mustSave(t, after(18))
			if !strings.Contains(contentOf(t, there), `"turns":18`) {
				t.Errorf("the file holds %s", contentOf(t, there))
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link is no link any more: %v, %v", info, err)
			}
		})
	}
}

func TestAFileThatSomebodyElsePutThereMeanwhileIsLeftAlone(t *testing.T) {
	for name, content := range map[string]string{
		"a foreign one":            "my thesis",
		"another balancer's":       written(t, after(99)),
		"a damaged one of ours":    `{"format":"udplab-turns-1","turns":`,
		"ours, but by another run": written(t, after(17)) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := at(t, written(t, after(17)))
			s := reopen(t, path, after(17))
			put(t, path, content)
			for range 2 {
				if err := s.save(after(18), false); fmt.Sprint(err) != "state file "+path+" has been changed by somebody else and is left alone" {
					t.Errorf("error %v", err)
				}
			}
			if got := contentOf(t, path); got != content {
				t.Errorf("the file holds %q", got)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			s.mustSave(t, after(18))
		})
	}
}

// keeping keeps the turns of a test in a bubble with a clock of its own. The
// cursor is that of turns; said is the log, and end ends the run.
func keeping(t *testing.T, path string, turns *uint64) (said *bytes.Buffer, end func()) {
	t.Helper()
	said = new(bytes.Buffer)
	s, _ := Open(path, three, slog.New(slog.NewTextHandler(said, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Keep(ctx, func() Cursor { return after(*turns) }) }()
	return said, func() { cancel(); <-done }
}

func TestTheFileIsASecondBehindAtMost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	synctest.Test(t, func(t *testing.T) {
		var turns uint64
		said, end := keeping(t, path, &turns)
		random := rand.New(rand.NewPCG(1, 2))
		const step = 10 * time.Millisecond
		var had []uint64 // turns there had been, a step apart
		for range 3000 {
			turns += random.Uint64N(5)
			had = append(had, turns)
			time.Sleep(step)
			synctest.Wait()
			f, err := parse([]byte(contentOf(t, path)))
			aSecondAgo := max(len(had)-1-int(saveEvery/step), 0)
			if err != nil || f.Turns > turns || f.Turns < had[aSecondAgo] && len(had) > int(saveEvery/step) || f.Ended {
				t.Fatalf("after %v: %+v after %d turns, a second ago there had been %d: %v", time.Duration(len(had))*step, f, turns, had[aSecondAgo], err)
			}
		}
		turns += 7
		end()
		if f, _ := parse([]byte(contentOf(t, path))); f.Turns != turns || !f.Ended {
			t.Errorf("at the end it is %+v after %d turns", f, turns)
		}
		if said.Len() > 0 {
			t.Errorf("it said %s", said)
		}
	})
}

func TestTroubleIsLoggedOnceAndSoIsItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	synctest.Test(t, func(t *testing.T) {
		var turns uint64
		said, end := keeping(t, path, &turns)
		pass := func(seconds int) {
			for range seconds {
				turns++
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		pass(2)
		put(t, path, "my thesis")
		pass(3)
		if got := contentOf(t, path); got != "my thesis" {
			t.Errorf("the file holds %q", got)
		}
		os.Remove(path)
		pass(2)
		end()
		for text, times := range map[string]int{"has been changed by somebody else": 1, "is written again": 1, "level=": 2} {
			if n := strings.Count(said.String(), text); n != times {
				t.Errorf("%q is said %d times, want %d:\n%s", text, n, times, said)
			}
		}
	})
	(*Store)(nil).Keep(t.Context(), nil) // keeps nothing, and returns
}

func TestTheStartSaysWhereItGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	for _, tt := range []struct {
		name string
		want string       // what the start says
		then func(*Store) // how the run goes on
	}{
		{"the first start", "", func(*Store) {}},
		{"cut off before its first turn was saved", "WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn 0: the next is server1's",
			func(s *Store) { s.save(after(5), false) }},
		{"cut off", "WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn 5: the next is server3's",
			func(s *Store) { s.save(after(6), true) }},
		{"came to its end", "INFO going on after turn 6 of an earlier run: the next is server1's", func(*Store) {}},
		{"cut off without a turn, which nobody knows", "WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn 6: the next is server1's",
			func(s *Store) { s.save(after(6), true) }},
		{"came to its end without a turn", "INFO going on after turn 6 of an earlier run: the next is server1's", func(s *Store) { put(t, s.path, "mine") }},
		{"a file that is not ours", "WARN state file " + path + " is not ours and is left alone; turns start from server1 and are not kept", nil},
	} {
		var said strings.Builder
		s, c := Open(path, three, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})))
		level, msg, _ := strings.Cut(tt.want, " ")
		if want := fmt.Sprintf("level=%s msg=%q\n", level, msg); said.String() != want && said.String()+tt.want != "" {
			t.Errorf("%s: %+v, said %s want %s", tt.name, c, &said, want)
		}
		if tt.then != nil {
			tt.then(s)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, content := range []string{"{}\n", "null", `{"format":"udplab-turns-2","turns":5}`, `"udplab-turns-1"`, "\x00",
		`{"format":"udplab-turns-1","turns":18446744073709551615,"last":"a","backends":["a"]}`,
		`{"turns":1,"last":"a","backends":["a","a"],"format":"udplab-turns-1"}`} {
		f.Add([]byte(content))
	}
	for _, c := range []Cursor{after(0), after(17), after(maxTurns), {2, "server3", []string{"a", "server3", "b"}}} {
		f.Add([]byte(written(f, c)))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := at(t, string(content))
		s, c, _, err := open(path, three, system)
		if next := c.Next(three); next < 0 || next >= len(three) || c.Turns > maxTurns {
			t.Errorf("cursor %+v, next %d", c, next)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("control characters in %q", err)
		}
		if s == nil {
			if after := contentOf(t, path); err == nil || string(content) != after {
				t.Errorf("no store, error %v, the file holds %q", err, after)
			}
			return
		}
		if !saysItIsOurs(content) {
			t.Errorf("a foreign file was overwritten")
		}
		if _, again, _, _ := open(path, three, system); again.Turns != c.Turns || again.Next(three) != c.Next(three) {
			t.Errorf("opened %+v, then %+v", c, again)
		}
	})
}

// saysItIsOurs is the rule in other words than those of the code: it has our
// format, or is what is left of, or follows, our first field.
func saysItIsOurs(content []byte) bool {
	var f struct{ Format string }
	if json.Unmarshal(content, &f) == nil && f.Format == format {
		return true
	}
	first := fmt.Sprintf(`{"format":%q`, format)
	return strings.HasPrefix(string(content), first) || strings.HasPrefix(first, string(content))
}
