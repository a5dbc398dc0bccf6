package persist

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// mount puts a file system in memory on a new directory, of at most so many
// pages, seen by this test alone: its thread has a mount namespace of its own,
// and ends with it.
func mount(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	runtime.LockOSThread() // for good
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestADiskThatIsReallyFull(t *testing.T) {
	dir := mount(t, "8k") // two pages
	path, filler := filepath.Join(dir, "turns"), filepath.Join(dir, "filler")
	s, _, err := Open(path, three)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Cursor{17, 2}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Cursor{18, 0}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("returned %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("the directory holds %v, error %v", left, err)
	}
	again, c, err := Open(path, three)
	if again == nil || c != (Cursor{17, 2}) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("opened while full: store %v, cursor %+v, error %v", again, c, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Cursor{18, 0}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if _, c, err := Open(path, three); err != nil || c != (Cursor{18, 0}) {
		t.Errorf("cursor %+v, error %v", c, err)
	}
}

func TestWhereNothingMayBeWrittenTurnsStartFromTheFirst(t *testing.T) {
	readOnly := mount(t, "64k")
	readable, closed := t.TempDir(), t.TempDir()
	content := written(t, three, Cursor{17, 2})
	for dir, mode := range map[string]fs.FileMode{readOnly: 0o644, readable: 0o644, closed: 0o600} {
		if err := os.WriteFile(filepath.Join(dir, "turns"), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("", readOnly, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(closed), 0o755); err != nil { // that of all of them
		t.Fatal(err)
	}
	// What this thread may do to files is what the container's user may.
	if err := syscall.Setfsuid(65532); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setfsuid(os.Getuid())
	for name, tt := range map[string]struct {
		dir string
		why error
	}{
		"on a file system that is mounted to be read only": {readOnly, syscall.EROFS},
		"in a directory of somebody else":                  {readable, fs.ErrPermission},
		"to a file that must not even be read":             {closed, fs.ErrPermission},
	} {
		path := filepath.Join(tt.dir, "turns")
		s, c, err := Open(path, three)
		if s != nil || c != (Cursor{}) || !errors.Is(err, tt.why) {
			t.Errorf("%s: store %v, cursor %+v, error %v", name, s, c, err)
		}
	}
}
