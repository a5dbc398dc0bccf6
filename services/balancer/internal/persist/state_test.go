package persist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var three = []string{"server1", "server2", "server3"}

// at is the path of a state file with this content, alone in a new directory.
func at(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "turns")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func contentOf(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// written is what a store writes for the cursor.
func written(t testing.TB, names []string, c Cursor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "turns")
	s, _, err := Open(path, names)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(c); err != nil {
		t.Fatal(err)
	}
	return contentOf(t, path)
}

func TestTheRotationGoesOnWhereItWasSaved(t *testing.T) {
	for _, c := range []Cursor{{0, 0}, {1, 1}, {2, 2}, {3, 0}, {17, 2}, {18, 2}, {maxTurns, 1}} {
		path := at(t, written(t, three, c))
		s, got, err := Open(path, three)
		if s == nil || err != nil || got != c {
			t.Errorf("saved %+v, opened %+v, store %v, error %v", c, got, s, err)
		}
	}
}

func TestAMissingFileIsTheBeginningAndIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	s, c, err := Open(path, three)
	if s == nil || err != nil || c != (Cursor{}) {
		t.Fatalf("store %v, cursor %+v, error %v", s, c, err)
	}
	want := `{"format":"udplab-turns-1","turns":0,"last":"","backends":["server1","server2","server3"],"ended":false}` + "\n"
	if got := contentOf(t, path); got != want {
		t.Errorf("the file holds %s want %s", got, want)
	}
}

func TestTheServerAfterTheLastIsNextInTodaysList(t *testing.T) {
	tests := []struct {
		name    string
		last    Cursor // of the run before, with server1, server2, server3
		names   []string
		next    string
		changed bool
	}{
		{"the same list", Cursor{5, 2}, three, "server3", false},
		{"nobody had a turn yet", Cursor{0, 0}, []string{"b", "a"}, "b", false},
		{"reordered: the one after the last in the new order", Cursor{5, 2}, []string{"server2", "server1", "server3"}, "server1", true},
		{"reordered: round the end", Cursor{5, 2}, []string{"server3", "server1", "server2"}, "server3", true},
		{"a new server after the last", Cursor{5, 2}, []string{"server1", "server2", "new", "server3"}, "new", true},
		{"a new server elsewhere", Cursor{5, 2}, []string{"new", "server1", "server2", "server3"}, "server3", true},
		{"the last is gone: who came after it", Cursor{5, 2}, []string{"server1", "server3"}, "server3", true},
		{"the last is gone: who came after it, reordered", Cursor{5, 2}, []string{"server3", "server1"}, "server3", true},
		{"the last and the one after it are gone", Cursor{5, 2}, []string{"new", "server1"}, "server1", true},
		{"the last is gone and was the last of the list", Cursor{6, 0}, []string{"server2", "server1"}, "server1", true},
		{"everybody is new: the first", Cursor{5, 2}, []string{"a", "b"}, "a", true},
		{"only the last is left", Cursor{5, 2}, []string{"server2"}, "server2", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := at(t, written(t, three, test.last))
			s, c, err := Open(path, test.names)
			if s == nil {
				t.Fatalf("no store: %v", err)
			}
			if got := test.names[c.Next]; got != test.next || c.Number != test.last.Number {
				t.Errorf("turn %d is %s's, want turn %d to be %s's", c.Number, got, test.last.Number, test.next)
			}
			if (err != nil) != test.changed {
				t.Errorf("warning %v, want one: %v", err, test.changed)
			}
			if err != nil && (!strings.Contains(err.Error(), test.next+"'s") || !strings.Contains(err.Error(), `"server2"'s`) && test.last.Next == 2) {
				t.Errorf("the warning does not say who was last and who is next: %v", err)
			}
		})
	}
}

func TestWhatBeganAsOursIsReplacedWithAWarning(t *testing.T) {
	tests := []struct{ name, content string }{
		{"garbled after the format", `{"format":"udplab-turns-1","turns":` + "\x00\xff\x1b[2J"},
		{"something behind the end", `{"format":"udplab-turns-1","turns":0,"last":"","backends":[]}}`},
		{"a negative number", `{"format":"udplab-turns-1","turns":-5,"last":"server1","backends":["server1"]}`},
		{"a number with a fraction", `{"format":"udplab-turns-1","turns":1.5,"last":"server1","backends":["server1"]}`},
		{"a number that no turn reaches", `{"format":"udplab-turns-1","turns":9007199254740993,"last":"server1","backends":["server1"]}`},
		{"the largest number", `{"format":"udplab-turns-1","turns":18446744073709551615,"last":"server1","backends":["server1"]}`},
		{"a larger number", `{"format":"udplab-turns-1","turns":18446744073709551616,"last":"server1","backends":["server1"]}`},
		{"turns that nobody had", `{"format":"udplab-turns-1","turns":5,"last":"","backends":["server1"]}`},
		{"a last one who was none of them", `{"format":"udplab-turns-1","turns":5,"last":"server2","backends":["server1"]}`},
		{"a last one before the first turn", `{"format":"udplab-turns-1","turns":0,"last":"server2","backends":["server1","server2"]}`},
		{"no list", `{"format":"udplab-turns-1","turns":5,"last":"server2"}`},
		{"a wrong type, written by another's hand", `{ "format": "udplab-turns-1", "turns": "five" }`},
		{"larger than any of ours", `{"format":"udplab-turns-1","turns":1,"last":"` + strings.Repeat("x", maxSize) + `"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := at(t, test.content)
			s, c, err := Open(path, three)
			if s == nil || c != (Cursor{}) {
				t.Fatalf("store %v, cursor %+v, error %v: want a store at the beginning", s, c, err)
			}
			want := "state file " + path + " is damaged; turns start from server1"
			if err == nil || err.Error() != want {
				t.Errorf("warning %v, want %s", err, want)
			}
			if _, _, err := Open(path, three); err != nil {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

func TestEveryBeginningOfAFileOfOursIsOurs(t *testing.T) {
	whole := written(t, three, Cursor{17, 2})
	complete := strings.TrimSuffix(whole, "\n")
	for n := range len(whole) + 1 {
		s, c, err := Open(at(t, whole[:n]), three)
		switch {
		case s == nil:
			t.Errorf("%q is not taken for ours: %v", whole[:n], err)
		case n >= len(complete) && (err != nil || c != Cursor{17, 2}):
			t.Errorf("%q: cursor %+v, warning %v", whole[:n], c, err)
		case n < len(complete) && (err == nil || c != Cursor{}):
			t.Errorf("%q: cursor %+v, warning %v", whole[:n], c, err)
		}
	}
}

// foreign are files that somebody else may have at a path that was mistyped.
var foreign = []string{
	"# a shell script\n",
	"\x7fELF\x02\x01\x01",
	"{}\n",
	"null",
	"[1,2,3]",
	`{"format":"udplab-turns-2","turns":5}`,
	`{"format":"udplab-turns-10"`,
	`{"name":"package.json"}`,
	`"udplab-turns-1"`,
	" ",
	"\x00",
	strings.Repeat("x", maxSize+1),
}

func TestAForeignFileIsLeftAlone(t *testing.T) {
	for _, content := range foreign {
		t.Run(content[:min(len(content), 20)], func(t *testing.T) {
			path := at(t, content)
			s, c, err := Open(path, three)
			if s != nil || c != (Cursor{}) {
				t.Errorf("store %v, cursor %+v: want nothing to be kept", s, c)
			}
			want := "state file " + path + " is not ours and is left alone; turns start from server1 and are not kept"
			if err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if contentOf(t, path) != content {
				t.Error("it was changed")
			}
		})
	}
}

func TestAPlaceWhereNothingCanBeKeptIsKnownAtTheStart(t *testing.T) {
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o555); err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "turns") // a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	socket := filepath.Join(short, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	tests := []struct {
		name, path, why string
		superuser       bool // it hinders the superuser too
	}{
		{"a directory that does not exist", filepath.Join(t.TempDir(), "none", "turns"), "cannot be written", true},
		{"a file in place of the directory", filepath.Join(at(t, "x"), "turns"), "not a directory", true},
		{"a directory in place of the file", t.TempDir(), "is not a regular file", true},
		{"a socket", socket, "is not a regular file", true},
		{"a directory that must not be written to", filepath.Join(closed, "turns"), "permission denied", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !test.superuser && os.Geteuid() == 0 {
				t.Skip("the superuser may write anywhere")
			}
			s, c, err := Open(test.path, three)
			if s != nil || c != (Cursor{}) {
				t.Errorf("store %v, cursor %+v: want nothing to be kept", s, c)
			}
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			for _, part := range []string{"state file", test.path, test.why, "are not kept"} {
				if !strings.Contains(text, part) {
					t.Errorf("%q does not say %q", text, part)
				}
			}
			if strings.Contains(text, "\n") {
				t.Errorf("more than one line: %q", text)
			}
		})
	}
}

func TestAFileOfOursThatCannotBeWrittenIsAStartFromTheFirst(t *testing.T) {
	path := at(t, written(t, three, Cursor{17, 2}))
	full := system
	full.create = func(string, string) (writable, error) {
		return nil, &fs.PathError{Op: "open", Path: "/there", Err: fs.ErrPermission}
	}
	s, c, err := open(&Store{path: path, names: three, disk: full}, path)
	want := "state file " + path + " cannot be written: open /there: permission denied; turns start from server1 and are not kept"
	if s != nil || c != (Cursor{}) || err == nil || err.Error() != strings.Replace(want, "permission denied", fs.ErrPermission.Error(), 1) {
		t.Errorf("store %v, cursor %+v, error %v", s, c, err)
	}
}

func TestARunThatWasCutOffIsBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	reopen := func(name string, want Cursor, behind bool) *Store {
		t.Helper()
		s, c, err := Open(path, three)
		if err != nil || c != want || s.Behind() != behind {
			t.Fatalf("%s: cursor %+v, behind %v, error %v", name, c, s.Behind(), err)
		}
		return s
	}
	reopen("the first start", Cursor{}, false)
	s := reopen("cut off before its first turn was saved", Cursor{}, true)
	s.Save(Cursor{5, 2})
	reopen("cut off", Cursor{5, 2}, true).End(Cursor{6, 0})
	reopen("came to its end", Cursor{6, 0}, false)
	reopen("cut off without a turn, but nobody knows", Cursor{6, 0}, true).End(Cursor{6, 0})
	reopen("came to its end without a turn", Cursor{6, 0}, false)
}

func TestALinkIsFollowed(t *testing.T) {
	for _, tt := range []struct {
		name     string
		make     func(dir string) // the link turns, to a file elsewhere/there
		existing bool
	}{
		{"to a file", func(dir string) { os.Symlink(filepath.Join(dir, "elsewhere", "there"), filepath.Join(dir, "turns")) }, true},
		{"to a file that is not yet", func(dir string) { os.Symlink(filepath.Join(dir, "elsewhere", "there"), filepath.Join(dir, "turns")) }, false},
		{"to a link, both relative", func(dir string) {
			os.Symlink(filepath.Join("elsewhere", "link"), filepath.Join(dir, "turns"))
			os.Symlink("there", filepath.Join(dir, "elsewhere", "link"))
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			os.Mkdir(filepath.Join(dir, "elsewhere"), 0o755)
			tt.make(dir)
			link, there := filepath.Join(dir, "turns"), filepath.Join(dir, "elsewhere", "there")
			if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Skip("this system makes no symbolic links here")
			}
			want := Cursor{}
			if tt.existing {
				want = Cursor{17, 2}
				os.WriteFile(there, []byte(written(t, three, want)), 0o644)
			}
			s, c, err := Open(link, three)
			if err != nil || c != want {
				t.Fatalf("cursor %+v, error %v", c, err)
			}
			if err := s.Save(Cursor{18, 0}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(contentOf(t, there), `"turns":18`) {
				t.Errorf("the file holds %s", contentOf(t, there))
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link is no link any more: %v, %v", info, err)
			}
		})
	}
}

func TestALinkToItselfIsAWarning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns")
	if err := os.Symlink(path, path); err != nil {
		t.Skip(err)
	}
	s, c, err := Open(path, three)
	if s != nil || c != (Cursor{}) || err == nil || !strings.Contains(err.Error(), "turns start from server1 and are not kept") {
		t.Errorf("store %v, cursor %+v, error %v", s, c, err)
	}
}

func TestAKillBeforeTheRenameLeavesTheOldFileInForce(t *testing.T) {
	path := at(t, written(t, three, Cursor{17, 2}))
	leftover, err := system.writeBeside(path, []byte(written(t, three, Cursor{99, 0})))
	if err != nil { // and here comes the kill
		t.Fatal(err)
	}
	s, c, err := Open(path, three)
	if err != nil || c != (Cursor{17, 2}) {
		t.Fatalf("cursor %+v, error %v", c, err)
	}
	if err := s.Save(Cursor{18, 0}); err != nil {
		t.Fatal(err)
	}
	if _, c, err := Open(path, three); err != nil || c != (Cursor{18, 0}) {
		t.Errorf("cursor %+v, error %v", c, err)
	}
	if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the kill left is still there: %v", err)
	}
}

func TestOnlyWhatOurKillsLeftIsSweptAway(t *testing.T) {
	ours := written(t, three, Cursor{17, 2})
	path := at(t, ours)
	beside := map[string]string{".turns.123": "my own notes", ".turns.old": ours, ".turns.": ours, "turns.123": ours, ".other.123": ours}
	for name, content := range beside {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := Open(path, three); err != nil {
		t.Fatal(err)
	}
	for name, content := range beside {
		if got := contentOf(t, filepath.Join(filepath.Dir(path), name)); got != content {
			t.Errorf("%s holds %q", name, got)
		}
	}
}

func TestAFileThatSomebodyElsePutThereMeanwhileIsLeftAlone(t *testing.T) {
	for name, content := range map[string]string{
		"a foreign one":            "my thesis",
		"another balancer's":       written(t, three, Cursor{99, 0}),
		"a damaged one of ours":    `{"format":"udplab-turns-1","turns":`,
		"ours, but by another run": written(t, three, Cursor{17, 2}) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := at(t, written(t, three, Cursor{17, 2}))
			s, _, err := Open(path, three)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			want := "state file " + path + " has been changed by somebody else and is left alone"
			for range 2 {
				if err := s.Save(Cursor{18, 0}); err == nil || err.Error() != want {
					t.Errorf("error %v", err)
				}
			}
			if got := contentOf(t, path); got != content {
				t.Errorf("the file holds %q", got)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := s.Save(Cursor{18, 0}); err != nil {
				t.Errorf("after it is gone: %v", err)
			}
		})
	}
}

func TestSavingLeavesNothingBesideTheFile(t *testing.T) {
	path := at(t, "")
	s, _, _ := Open(path, three)
	if err := s.Save(Cursor{5, 2}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Cursor{6, 0}); err == nil {
		t.Error("no error although a directory stands in the way")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, error %v", entries, err)
	}
}

func TestSaveWritesOnlyWhatIsNew(t *testing.T) {
	path := at(t, "")
	s, _, _ := Open(path, three)
	save := func(c Cursor) os.FileInfo {
		t.Helper()
		if err := s.Save(c); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := save(Cursor{5, 2})
	if !os.SameFile(first, save(Cursor{5, 2})) {
		t.Error("the same cursor was written twice")
	}
	if os.SameFile(first, save(Cursor{6, 0})) {
		t.Error("a new cursor was not written to a new file")
	}
}

func TestSaveTriesAgainAfterAFailure(t *testing.T) {
	path := at(t, "")
	s, _, _ := Open(path, three)
	directory := filepath.Dir(path)
	if err := os.Rename(directory, directory+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Cursor{5, 2}); err == nil {
		t.Fatal("no error although the directory is gone")
	}
	if err := os.Rename(directory+"-away", directory); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Cursor{5, 2}); err != nil {
		t.Fatal(err)
	}
	if _, c, err := Open(path, three); err != nil || c != (Cursor{5, 2}) {
		t.Errorf("cursor %+v, error %v", c, err)
	}
}

func TestNamesWithOddCharactersSurvive(t *testing.T) {
	names := []string{`a&b<c>`, `Größe`, `日本`, `back\slash`, "a'b"}
	_, c, err := Open(at(t, written(t, names, Cursor{3, 3})), names)
	if err != nil || c != (Cursor{3, 3}) {
		t.Errorf("cursor %+v, error %v", c, err)
	}
}

func TestNoControlCharacterOfTheFileReachesTheLog(t *testing.T) {
	_, c, err := Open(at(t, `{"format":"udplab-turns-1","turns":5,"last":"\u001b[2J\n","backends":["\u001b[2J\n"]}`), three)
	if err == nil || c != (Cursor{5, 0}) {
		t.Fatalf("cursor %+v, error %v", c, err)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%q", err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, content := range foreign[:len(foreign)-1] {
		f.Add([]byte(content))
	}
	for _, c := range []Cursor{{0, 0}, {17, 2}, {maxTurns, 1}} {
		f.Add([]byte(written(f, three, c)))
		f.Add([]byte(written(f, []string{"a", "server3", "b"}, c)))
	}
	f.Add([]byte(`{"format":"udplab-turns-1","turns":18446744073709551615,"last":"a","backends":["a"]}`))
	f.Add([]byte(`{"turns":1,"last":"a","backends":["a","a"],"format":"udplab-turns-1"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := at(t, string(content))
		s, c, err := Open(path, three)
		if c.Next < 0 || c.Next >= len(three) || c.Number > maxTurns {
			t.Errorf("cursor %+v", c)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("control characters in %q", err)
		}
		after := []byte(contentOf(t, path))
		if s == nil {
			if err == nil || !bytes.Equal(content, after) {
				t.Errorf("no store, error %v, the file holds %q", err, after)
			}
			return
		}
		if !saysItIsOurs(content) {
			t.Errorf("a foreign file was overwritten")
		}
		if _, again, err := Open(path, three); err != nil || again != c {
			t.Errorf("opened %+v, then %+v with error %v", c, again, err)
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
