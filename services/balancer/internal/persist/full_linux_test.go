package persist

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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
	s := reopen(t, path, after(0))
	s.mustSave(t, after(17))
	put(t, filler, strings.Repeat("x", 4096))
	if err := s.save(after(18), false); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("returned %v", err)
	}
	alone(t, path, 2)
	again, c, _, err := open(path, three, system)
	if again == nil || c.Turns != 17 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("opened while full: store %v, cursor %+v, error %v", again, c, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.mustSave(t, after(18))
	reopen(t, path, after(18))
}

func TestWhereNothingMayBeWrittenTurnsStartFromTheFirst(t *testing.T) {
	readOnly := mount(t, "64k")
	readable, closed := t.TempDir(), t.TempDir()
	for dir, mode := range map[string]fs.FileMode{readOnly: 0o644, readable: 0o644, closed: 0o600} {
		path := filepath.Join(dir, "turns")
		put(t, path, written(t, after(17)))
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	err := cmp.Or(syscall.Mount("", readOnly, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""),
		os.Chmod(filepath.Dir(closed), 0o755), // that of all of them
		syscall.Setfsuid(65532))               // what this thread may do to files is what the container's user may
	if err != nil {
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
		s, c, _, err := open(filepath.Join(tt.dir, "turns"), three, system)
		if s != nil || c.Turns != 0 || !errors.Is(err, tt.why) {
			t.Errorf("%s: store %v, cursor %+v, error %v", name, s, c, err)
		}
	}
}
