package persist

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
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
	content, err := json.Marshal(file{Format: format, Cursor: c})
	if err != nil {
		t.Fatal(err)
	}
	return string(content) + "\n"
}

// opened opens the file and returns the log's lines.
func opened(path string, today []string) (*Store, Cursor, string) {
	var said strings.Builder
	s, c := Open(path, today, logTo(&said))
	return s, c, said.String()
}

// logTo returns a log whose lines are a level, a space and a message.
func logTo(w io.Writer) *slog.Logger { return slog.New(lines{w}) }

type lines struct{ io.Writer }

func (lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l lines) WithGroup(string) slog.Handler          { return l }
func (l lines) Handle(_ context.Context, r slog.Record) error {
	_, err := fmt.Fprintf(l, "%v %s\n", r.Level, r.Message)
	return err
}

// goesOn is what the log says of a run that was cut off, or came to its end.
func goesOn(c Cursor, today []string, ended bool) string {
	next := today[c.Next(today)]
	switch {
	case !ended:
		return fmt.Sprintf("WARN the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn %d: the next is %s's\n", c.Turns, next)
	case c.Turns > 0:
		return fmt.Sprintf("INFO going on after turn %d of an earlier run: the next is %s's\n", c.Turns, next)
	}
	return ""
}

// reopen opens the file and wants the cursor and no warning but that of a kill.
func reopen(t *testing.T, path string, want Cursor) *Store {
	t.Helper()
	s, c, said := opened(path, three)
	if s == nil || !reflect.DeepEqual(c, want) || said != "" && said != goesOn(c, three, false) && said != goesOn(c, three, true) {
		t.Errorf("opened with %+v, store %v, said %s; want %+v", c, s, said, want)
	}
	return s
}

// mustSave saves and wants no error.
func (s *Store) mustSave(t *testing.T, c Cursor) {
	t.Helper()
	if err := s.save(c, false); err != nil {
		t.Fatal(err)
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
	if _, c, _ := opened(at(t, written(t, odd)), odd.Names); !reflect.DeepEqual(c, odd) {
		t.Errorf("cursor %+v", c)
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
			s, c, said := opened(path, today)
			if got := today[c.Next(today)]; s == nil || got != tt.next || c.Turns != tt.turns {
				t.Fatalf("after turn %d it is %s's, want %d and %s's; store %v", c.Turns, got, tt.turns, tt.next, s)
			}
			want := goesOn(c, today, false)
			if tt.turns > 0 && tt.today != strings.Join(three, " ") {
				want = fmt.Sprintf(`WARN the servers have changed from "server1,server2,server3" to %q; the last turn was %q's, the next is %s's`+"\n",
					strings.Join(today, ","), after(tt.turns).Last, tt.next) + want
			}
			if said != want {
				t.Errorf("said %s want %s", said, want)
			}
			if tt.turns > 0 {
				reopen(t, path, after(tt.turns)) // with the list as it was: no turn came in between
			}
		})
	}
}

// After a start with another list and no turn, the list of the last turn counts.
func TestASaveWithoutATurnKeepsTheListOfTheLastTurn(t *testing.T) {
	path := at(t, "")
	s, _, _ := opened(path, three)
	s.mustSave(t, after(5))
	if err := s.save(Cursor{5, "server1", []string{"server1", "server3"}}, true); err != nil {
		t.Fatal(err)
	}
	reopen(t, path, after(5)).mustSave(t, Cursor{6, "server3", []string{"server1", "server3"}})
	if _, c, _ := opened(path, three); c.Last != "server3" || len(c.Names) != 2 {
		t.Errorf("cursor %+v", c)
	}
}

func TestWhatCannotBeUsed(t *testing.T) {
	const damaged, foreign = "is damaged; turns start from server1", "is not ours and is left alone; turns start from server1 and are not kept"
	ours := func(rest string) string { return `{"format":"udplab-turns-1",` + rest }
	for _, tt := range []struct{ name, content, warning string }{
		{"the beginning of one of ours", ours(`"turns":1`), damaged},
		{"garbled after the format", ours(`"turns":` + "\x00\xff\x1b[2J"), damaged},
		{"something behind the end", ours(`"turns":0,"last":"","backends":[]}}`), damaged},
		{"a negative number", ours(`"turns":-5,"last":"server1","backends":["server1"]}`), damaged},
		{"a number that no turn reaches", ours(`"turns":9007199254740993,"last":"server1","backends":["server1"]}`), damaged},
		{"turns without a last server", ours(`"turns":5,"last":"","backends":["server1"]}`), damaged},
		{"a last one that was none of them", ours(`"turns":5,"last":"server2","backends":["server1"]}`), damaged},
		{"a last one before the first turn", ours(`"turns":0,"last":"server2","backends":["server1","server2"]}`), damaged},
		{"no list", ours(`"turns":5,"last":"server2"}`), damaged},
		{"a wrong type, by another's hand", `{ "format": "udplab-turns-1", "turns": "five" }`, damaged},
		{"larger than any of ours", ours(`"turns":1,"last":"` + strings.Repeat("x", maxSize) + `"`), damaged},
		{"a program", "\x7fELF\x02\x01\x01", foreign},
		{"an empty object", "{}\n", foreign},
		{"null", "null", foreign},
		{"a later format", `{"format":"udplab-turns-2","turns":5}`, foreign},
		{"a longer format", `{"format":"udplab-turns-10"`, foreign},
		{"our format as a string", `"udplab-turns-1"`, foreign},
		{"a zero", "\x00", foreign},
		{"large", strings.Repeat("x", maxSize+1), foreign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := at(t, tt.content)
			s, c, said := opened(path, three)
			if want := fmt.Sprintf("WARN state file %s %s\n", path, tt.warning); said != want || !reflect.DeepEqual(c, after(0)) || (s == nil) != (tt.warning == foreign) {
				t.Errorf("said %s want %s; store %v, cursor %+v", said, want, s, c)
			}
			if tt.warning == damaged {
				reopen(t, path, after(0))
			} else if contentOf(t, path) != tt.content {
				t.Error("it was changed")
			}
		})
	}
	whole := written(t, after(17))
	for n := range len(whole) - 1 {
		if _, err := parse([]byte(whole[:n])); err != errDamaged {
			t.Errorf("%q, a beginning of ours: %v", whole[:n], err)
		}
	}
}

func TestAPlaceWhereNothingCanBeKeptIsKnownAtTheStart(t *testing.T) {
	itself := filepath.Join(t.TempDir(), "turns")
	short, err := os.MkdirTemp("", "turns") // a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	listener, err := net.Listen("unix", filepath.Join(short, "s"))
	if err := cmp.Or(err, os.Symlink(itself, itself)); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, tt := range []struct{ name, path, why string }{
		{"a directory that does not exist", filepath.Join(t.TempDir(), "none", "turns"), "cannot be written"},
		{"a file in place of the directory", filepath.Join(at(t, "x"), "turns"), "not a directory"},
		{"a directory in place of the file", t.TempDir(), "is not a regular file"},
		{"a socket", filepath.Join(short, "s"), "is not a regular file"},
		{"a link to itself", itself, "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c, said := opened(tt.path, three)
			if s != nil || !reflect.DeepEqual(c, after(0)) || strings.Count(said, "\n") != 1 || !strings.Contains(said, "state file "+tt.path) ||
				!strings.Contains(said, tt.why) || !strings.HasSuffix(said, "; turns start from server1 and are not kept\n") {
				t.Errorf("store %v, cursor %+v, said %s; want one line with %q", s, c, said, tt.why)
			}
		})
	}
}

// A power cut keeps what has been synced. So the path leads to the old content
// until the new is whole, and a replacement that fails leaves nothing else.
func TestAReplacementThatFailsLeavesTheOldFileAndNothingBesideIt(t *testing.T) {
	path := filepath.Join(at(t, "in the way of the rename"), "..")
	if err := replace(path, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, err := filepath.Glob(filepath.Dir(path) + "/*.new"); len(entries) > 0 || err != nil {
		t.Errorf("beside it there is %v: %v", entries, err)
	}
}

// tracked is a file that writes down what is done with it, and fails at one step.
type tracked struct {
	steps []string
	fails string
}

func (f *tracked) do(step string) error {
	f.steps = append(f.steps, step)
	if step == f.fails {
		return errors.New(step)
	}
	return nil
}

func (f *tracked) Write(p []byte) (int, error) { return len(p), f.do("write " + string(p)) }
func (f *tracked) Sync() error                 { return f.do("sync") }
func (f *tracked) Close() error                { return f.do("close") }

// The new file takes the name only if fill succeeds.
func TestAFileIsSyncedBeforeItIsWholeAndAlwaysClosed(t *testing.T) {
	steps := []string{"write x", "sync", "close"}
	for _, fails := range append(steps, "") {
		f := &tracked{fails: fails}
		err := fill(f, []byte("x"))
		if !slices.Equal(f.steps, steps) || (err == nil) != (fails == "") || err != nil && err.Error() != fails {
			t.Errorf("with a failing %q: %q, error %v", fails, f.steps, err)
		}
	}
}

func TestOnlyWhatAKillLeftIsRemoved(t *testing.T) {
	path := at(t, written(t, after(17)))
	put(t, unfinished(path), written(t, after(18))[:40])
	reopen(t, path, after(17)).mustSave(t, after(18))
	put(t, unfinished(path), "my own notes")
	s, _, said := opened(path, three)
	if got := contentOf(t, unfinished(path)); s != nil || got != "my own notes" || !strings.Contains(said, "cannot be written: ") {
		t.Errorf("store %v, said %s, beside it there is %q", s, said, got)
	}
}

func TestOnlyAFullDiskMayPass(t *testing.T) {
	for why, tt := range map[error]struct {
		want  string
		keeps bool
	}{
		syscall.ENOSPC: {"turns are not kept until there is room", true},
		syscall.EDQUOT: {"turns are not kept until there is room", true},
		syscall.EROFS:  {"turns start from server1 and are not kept", false},
	} {
		path := at(t, written(t, after(17)))
		var said strings.Builder
		s, c := open(path, three, logTo(&said), func(string, []byte) error { return &fs.PathError{Op: "write", Path: path, Err: why} })
		want := fmt.Sprintf("WARN state file %s cannot be written: write %[1]s: %v; %s\n", path, why, tt.want)
		if !strings.HasPrefix(said.String(), want) || (s != nil) != tt.keeps || (c.Turns == 17) != tt.keeps {
			t.Errorf("store %v, cursor %+v, said %swant %s", s, c, &said, want)
		}
		if s != nil {
			s.replace = replace
			s.mustSave(t, after(18))
			reopen(t, path, after(18))
		}
	}
}

func TestALinkIsFollowed(t *testing.T) {
	for name, tt := range map[string]struct {
		link string
		want Cursor
	}{
		"to a file":                       {"DIR/there", after(17)},
		"to a file that is not there yet": {"DIR/there", after(0)},
		"to a link, both relative":        {"../links/next", after(17)},
	} {
		t.Run(name, func(t *testing.T) {
			there := filepath.Join(t.TempDir(), "there")
			links := filepath.Join(filepath.Dir(there), "links")
			link := filepath.Join(links, "turns")
			if tt.want.Turns > 0 {
				put(t, there, written(t, tt.want))
			}
			if err := cmp.Or(os.Mkdir(links, 0o755), os.Symlink("../there", filepath.Join(links, "next")),
				os.Symlink(strings.Replace(tt.link, "DIR", filepath.Dir(there), 1), link)); err != nil {
				t.Fatal(err)
			}
			reopen(t, link, tt.want).mustSave(t, after(18))
			if got := contentOf(t, there); got != written(t, after(18)) {
				t.Errorf("the file holds %s", got)
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link is no link any more: %v, %v", info, err)
			}
		})
	}
}

// keeping keeps the turns of a test in a bubble with a clock of its own. The
// cursor is that of turns; said is the log, and end ends the run.
func keeping(t *testing.T, path string, turns *atomic.Uint64) (said *bytes.Buffer, end func()) {
	t.Helper()
	said = new(bytes.Buffer)
	s, _ := Open(path, three, logTo(said))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Keep(ctx, func() Cursor { return after(turns.Load()) }) }()
	return said, func() { cancel(); <-done }
}

func TestTheFileIsASecondBehindAtMost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	synctest.Test(t, func(t *testing.T) {
		var turns atomic.Uint64
		said, end := keeping(t, path, &turns)
		random := rand.New(rand.NewPCG(1, 2))
		const step = 10 * time.Millisecond
		var had []uint64 // turns there had been, a step apart
		for range 1000 {
			turns.Add(random.Uint64N(5))
			had = append(had, turns.Load())
			time.Sleep(step)
			synctest.Wait()
			f, err := parse([]byte(contentOf(t, path)))
			aSecondAgo := max(len(had)-1-int(saveEvery/step), 0)
			if err != nil || f.Turns > turns.Load() || f.Turns < had[aSecondAgo] && len(had) > int(saveEvery/step) || f.Ended {
				t.Fatalf("after %v: %+v after %d turns, a second ago there had been %d: %v", time.Duration(len(had))*step, f, turns.Load(), had[aSecondAgo], err)
			}
		}
		turns.Add(7)
		end()
		if f, _ := parse([]byte(contentOf(t, path))); f.Turns != turns.Load() || !f.Ended {
			t.Errorf("at the end it is %+v after %d turns", f, turns.Load())
		}
		if said.Len() > 0 {
			t.Errorf("it said %s", said)
		}
	})
}

func TestAFileThatSomebodyElseChangesIsLeftAloneAndItsEndIsLoggedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	synctest.Test(t, func(t *testing.T) {
		var turns atomic.Uint64
		said, end := keeping(t, path, &turns)
		pass := func(seconds int) {
			for range seconds {
				turns.Add(1)
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		pass(2)
		want := ""
		for _, content := range []string{"my thesis", written(t, after(99)), `{"format":"udplab-turns-1","turns":`, contentOf(t, path) + "\n"} {
			put(t, path, content)
			pass(3)
			if got := contentOf(t, path); got != content {
				t.Errorf("the file holds %q, want %q", got, content)
			}
			os.Remove(path)
			pass(2)
			want += "WARN state file " + path + " has been changed by somebody else and is left alone\nINFO the state file is written again\n"
		}
		end()
		if said.String() != want {
			t.Errorf("it said %s want %s", said, want)
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
		{"cut off before its first turn was saved", goesOn(after(0), three, false), func(s *Store) { s.save(after(5), false) }},
		{"cut off", goesOn(after(5), three, false), func(s *Store) { s.save(after(6), true) }},
		{"came to its end", goesOn(after(6), three, true), func(*Store) {}},
		{"cut off without a turn, which cannot be told", goesOn(after(6), three, false), func(s *Store) { s.save(after(6), true) }},
		{"came to its end without a turn", goesOn(after(6), three, true), func(*Store) {}},
	} {
		s, c, said := opened(path, three)
		if said != tt.want {
			t.Errorf("%s: %+v, said %s want %s", tt.name, c, said, tt.want)
		}
		tt.then(s)
	}
}

func FuzzOpen(f *testing.F) {
	for _, content := range []string{"{}\n", `{"turns":1,"last":"a","backends":["a","a"],"format":"udplab-turns-1"}`,
		written(f, after(0)), written(f, after(17)), written(f, after(maxTurns)), written(f, Cursor{2, "server3", []string{"a", "server3", "b"}})} {
		f.Add([]byte(content))
	}
	f.Add([]byte(`{"format":"udplab-turns-1","turns":5,"last":"\u001b[2J\n","backends":["\u001b[2J\n"]}`)) // no mess of the log
	f.Fuzz(func(t *testing.T, content []byte) {
		path := at(t, string(content))
		s, c, said := opened(path, three)
		if next := c.Next(three); next < 0 || next >= len(three) || c.Turns > maxTurns {
			t.Errorf("cursor %+v, next %d", c, next)
		}
		if strings.ContainsFunc(strings.ReplaceAll(said, "\n", ""), unicode.IsControl) || strings.Count(said, "\n") > 2 {
			t.Errorf("said %q", said)
		}
		if s == nil {
			if after := contentOf(t, path); said == "" || string(content) != after {
				t.Errorf("no store, said %s, the file holds %q", said, after)
			}
			return
		}
		if !saysItIsOurs(content) {
			t.Errorf("a foreign file was overwritten")
		}
		if _, again, _ := opened(path, three); again.Turns != c.Turns || again.Next(three) != c.Next(three) {
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
