package persist

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestWhereNothingMayBeReadOrWrittenTurnsStartFromTheFirst(t *testing.T) {
	unreadable, unwritable := at(t, written(t, after(17))), filepath.Join(t.TempDir(), "turns")
	err := cmp.Or(os.Chmod(unreadable, 0), os.Chmod(filepath.Dir(unwritable), 0o555),
		os.Chmod(filepath.Dir(filepath.Dir(unwritable)), 0o755)) // that of all of them
	if os.Geteuid() == 0 { // the superuser may do anything, the container's user may not
		runtime.LockOSThread() // for good
		err = cmp.Or(err, syscall.Setfsuid(65532))
		defer syscall.Setfsuid(0)
	}
	if err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{unreadable: "cannot be read: ", unwritable: "cannot be written: "} {
		s, c, said := opened(path, three)
		if s != nil || c.Turns != 0 || !strings.Contains(said, path+" "+why) || !strings.HasSuffix(said, "denied; turns start from server1 and are not kept\n") {
			t.Errorf("%s: store %v, cursor %+v, said %s", path, s, c, said)
		}
	}
}
