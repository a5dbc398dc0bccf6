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

// steps is a disk that notes every step of replacing a file. What it is asked
// to fail at, it fails at.
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
		remove:  func(path string) error { return s.step("remove", func() error { return os.Remove(path) }) },
		syncDir: func(path string) error { return s.step("sync directory", func() error { return syncDir(path) }) },
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

// store opens a state file that was left at turn 17, on a disk that notes.
func (s *steps) store(t *testing.T) *Store {
	t.Helper()
	path := at(t, written(t, three, Cursor{17, 2}))
	store, c, err := open(&Store{path: path, names: three, disk: s.disk()}, path)
	if err != nil || c != (Cursor{17, 2}) {
		t.Fatalf("cursor %+v, error %v", c, err)
	}
	s.taken = nil
	return store
}

func TestAFileIsWrittenAndSyncedBeforeItTakesTheName(t *testing.T) {
	s := &steps{}
	if err := s.store(t).Save(Cursor{18, 0}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create", "write", "chmod", "sync", "close", "rename", "sync directory"}; !slices.Equal(s.taken, want) {
		t.Errorf("steps %q, want %q", s.taken, want)
	}
}

func TestAStepThatFailsLeavesTheOldFileAndNothingBesideIt(t *testing.T) {
	for _, failAt := range []string{"create", "write", "chmod", "sync", "close", "rename"} {
		t.Run(failAt, func(t *testing.T) {
			s := &steps{failAt: failAt, why: syscall.EIO}
			store := (&steps{}).store(t)
			store.disk = s.disk()
			if err := store.Save(Cursor{18, 0}); !errors.Is(err, syscall.EIO) {
				t.Errorf("returned %v", err)
			}
			if slices.Contains(s.taken, "rename") && failAt != "rename" {
				t.Errorf("renamed after all: %q", s.taken)
			}
			left, err := os.ReadDir(filepath.Dir(store.path))
			if err != nil || len(left) != 1 {
				t.Errorf("the directory holds %v, error %v", left, err)
			}
			if _, c, err := Open(store.path, three); err != nil || c != (Cursor{17, 2}) {
				t.Errorf("cursor %+v, error %v", c, err)
			}
			store.disk = system
			if err := store.Save(Cursor{18, 0}); err != nil {
				t.Errorf("the next time: %v", err)
			}
		})
	}
}

// A power cut keeps what has been synced. Of the rest it keeps anything: the
// name of the new file or of the old, and of what was not synced nothing, a
// part, or zeros (as file systems do that allocate late).
func TestAPowerCutAtAnyStepLeavesTheOldPlaceOrTheNew(t *testing.T) {
	oldContent, newContent := written(t, three, Cursor{17, 2}), written(t, three, Cursor{18, 0})
	s := &steps{}
	if err := s.store(t).Save(Cursor{18, 0}); err != nil {
		t.Fatal(err)
	}
	for cut := range len(s.taken) + 1 {
		done := s.taken[:cut]
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
			_, c, err := Open(at(t, survivor), three)
			if err != nil || c != (Cursor{17, 2}) && c != (Cursor{18, 0}) {
				t.Errorf("cut after %q, the file holds %q: cursor %+v, warning %v", done, survivor, c, err)
			}
			if cut == len(s.taken) && c != (Cursor{18, 0}) {
				t.Errorf("after the last step it is still %+v", c)
			}
		}
	}
}

func TestAFullDiskIsSaidAndTriedAgain(t *testing.T) {
	path := at(t, written(t, three, Cursor{17, 2}))
	s := &steps{failAt: "write", why: &fs.PathError{Op: "write", Path: "/there", Err: syscall.ENOSPC}}
	store, c, err := open(&Store{path: path, names: three, disk: s.disk()}, path)
	want := fmt.Sprintf("state file %s cannot be written: write /there: %v; turns are not kept until there is room", path, syscall.ENOSPC)
	if store == nil || c != (Cursor{17, 2}) || err == nil || err.Error() != want {
		t.Fatalf("store %v, cursor %+v, error %v", store, c, err)
	}
	if err := store.Save(Cursor{18, 0}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("returned %v", err)
	}
	s.failAt = ""
	if err := store.Save(Cursor{18, 0}); err != nil {
		t.Error(err)
	}
	if _, c, err := Open(path, three); err != nil || c != (Cursor{18, 0}) {
		t.Errorf("cursor %+v, error %v", c, err)
	}
}
