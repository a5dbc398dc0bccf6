package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// steps is a disk that notes every step of replacing a file, and fails at one
// if it is told to.
type steps struct {
	taken  []string
	failAt string
	why    error
}

func (s *steps) step(name string, take func() error) error {
	s.taken = append(s.taken, name)
	if name == s.failAt {
		return s.why
	}
	return take()
}

func (s *steps) disk() disk {
	return disk{
		create: func(dir, pattern string) (w writable, err error) {
			return w, s.step("create", func() error {
				f, err := os.CreateTemp(dir, pattern)
				w = stepFile{f, s}
				return err
			})
		},
		rename:  func(from, to string) error { return s.step("rename", func() error { return os.Rename(from, to) }) },
		remove:  os.Remove,
		syncDir: func(path string) error { return s.step("sync directory", func() error { return system.syncDir(path) }) },
	}
}

type stepFile struct {
	*os.File
	*steps
}

func (f stepFile) Write(p []byte) (n int, err error) {
	return len(p), f.step("write", func() error { n, err = f.File.Write(p); return err })
}
func (f stepFile) Chmod(m fs.FileMode) error {
	return f.step("chmod", func() error { return f.File.Chmod(m) })
}
func (f stepFile) Sync() error { return f.step("sync", f.File.Sync) }
func (f stepFile) Close() error {
	return errors.Join(f.File.Close(), f.step("close", func() error { return nil }))
}

var allSteps = []string{"create", "write", "chmod", "sync", "close", "rename", "sync directory"}

func TestAFileIsWrittenAndSyncedBeforeItTakesTheName(t *testing.T) {
	s := &steps{}
	store, _, _, _ := open(at(t, ""), three, s.disk())
	s.taken = nil
	store.mustSave(t, after(18))
	if !slices.Equal(s.taken, allSteps) {
		t.Errorf("steps %q, want %q", s.taken, allSteps)
	}
	store.mustSave(t, after(18)) // nothing new
	if !slices.Equal(s.taken, allSteps) {
		t.Errorf("the same cursor was written twice: %q", s.taken)
	}
}

func TestAStepThatFailsLeavesTheOldFileAndNothingBesideIt(t *testing.T) {
	for _, failAt := range allSteps {
		t.Run(failAt, func(t *testing.T) {
			path, s := at(t, written(t, after(17))), &steps{why: syscall.EIO}
			store, _, _, _ := open(path, three, s.disk())
			s.failAt, s.taken = failAt, nil
			if err := store.save(after(18), false); !errors.Is(err, syscall.EIO) {
				t.Errorf("returned %v", err)
			}
			if slices.Contains(s.taken, "rename") && !slices.Contains(allSteps[5:], failAt) {
				t.Errorf("renamed after all: %q", s.taken)
			}
			alone(t, path, 1)
			if failAt == "sync directory" {
				return // the new file has its name, but may not last
			}
			reopen(t, path, after(17))
			put(t, path, string(store.there)) // the store's own again
			s.failAt = ""
			store.mustSave(t, after(18))
			reopen(t, path, after(18))
		})
	}
}

// A power cut keeps what has been synced. Of the rest it keeps anything: the
// name of the new file or of the old, and of what was not synced nothing, a
// part, or zeros (as file systems do that allocate late).
func TestAPowerCutAtAnyStepLeavesTheOldPlaceOrTheNew(t *testing.T) {
	oldContent, newContent := written(t, after(17)), written(t, after(18))
	for cut := range len(allSteps) + 1 {
		done := allSteps[:cut]
		contents := []string{newContent}
		if !slices.Contains(done, "sync") {
			contents = []string{"", newContent[:len(newContent)/2], strings.Repeat("\x00", len(newContent)), newContent}
		}
		var survivors []string // what the name may lead to
		if !slices.Contains(done, "sync directory") {
			survivors = append(survivors, oldContent)
		}
		if slices.Contains(done, "rename") {
			survivors = append(survivors, contents...)
		}
		for _, survivor := range survivors {
			_, c, _, err := open(at(t, survivor), three, system)
			if err != nil || c.Turns != 18 && (c.Turns != 17 || cut == len(allSteps)) {
				t.Errorf("cut after %q, the file holds %q: cursor %+v, warning %v", done, survivor, c, err)
			}
		}
	}
}

func TestAKillBeforeTheRenameLeavesTheOldFileInForce(t *testing.T) {
	ours := written(t, after(17))
	path := at(t, ours)
	leftover, err := system.writeBeside(path, []byte(written(t, after(99))))
	if err != nil { // and here comes the kill
		t.Fatal(err)
	}
	beside := map[string]string{".turns.123": "my own notes", ".turns.old": ours, ".turns.": ours, "turns.123": ours, ".other.123": ours}
	for name, content := range beside {
		put(t, filepath.Join(filepath.Dir(path), name), content)
	}
	reopen(t, path, after(17))
	if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the kill left is still there: %v", err)
	}
	for name, content := range beside { // only what our kills left is swept away
		if got := contentOf(t, filepath.Join(filepath.Dir(path), name)); got != content {
			t.Errorf("%s holds %q", name, got)
		}
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
		s := &steps{failAt: "write", why: &fs.PathError{Op: "write", Path: "/there", Err: why}}
		store, c, _, err := open(path, three, s.disk())
		want := fmt.Sprintf("state file %s cannot be written: write /there: %v; %s", path, why, tt.want)
		if fmt.Sprint(err) != want || (store != nil) != tt.keeps || (c.Turns == 17) != tt.keeps {
			t.Errorf("store %v, cursor %+v, error %v; want %s", store, c, err, want)
		}
	}
}
