package persist

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// disk is what replacing a file needs of the system. A test that cuts the power
// between two steps has its own.
type disk struct {
	create  func(dir, pattern string) (writable, error) // a new file
	rename  func(from, to string) error
	remove  func(path string) error
	syncDir func(path string) error // makes renames in a directory last
}

// writable is a file that is being written.
type writable interface {
	io.WriteCloser
	Name() string
	Chmod(fs.FileMode) error
	Sync() error // makes the content last
}

// system is the disk of this machine.
var system = disk{
	create: func(dir, pattern string) (writable, error) { return os.CreateTemp(dir, pattern) },
	rename: os.Rename,
	remove: os.Remove,
	syncDir: func(path string) error {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	},
}

// replace puts content in the place of path as a whole, so that path holds the
// old content or the new, also after a power cut: the new is written beside it
// and synced before it takes the name, and then the directory is synced.
func (d disk) replace(path string, content []byte) error {
	beside, err := d.writeBeside(path, content)
	if err != nil {
		return err
	}
	if err := d.rename(beside, path); err != nil {
		_ = d.remove(beside)
		return err
	}
	// Not every system lets a directory be synced, and path is whole without. But
	// a disk that says it is broken is to be believed.
	if err := d.syncDir(filepath.Dir(path)); errors.Is(err, syscall.EIO) {
		return err
	}
	return nil
}

// writeBeside writes content to a new hidden file in the directory of path and
// returns its name; after an error there is no such file. One that a kill left
// behind is never read, and swept away by the next run.
func (d disk) writeBeside(path string, content []byte) (string, error) {
	f, err := d.create(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		_ = d.remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// sweep removes what kills have left beside path: files that writeBeside named
// and that begin as ours do. What cannot be removed does no harm.
func sweep(path string) {
	dir, prefix := filepath.Dir(path), "."+filepath.Base(path)+"."
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		number, named := strings.CutPrefix(e.Name(), prefix)
		if !named || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		beside := filepath.Join(dir, e.Name())
		if content, err := read(beside); err == nil && begunByUs(content) {
			_ = os.Remove(beside)
		}
	}
}

// target follows path if it is a symbolic link, also one to a file that does
// not exist yet, so that the file is replaced and not the link to it.
func target(path string) string {
	for range 40 { // as many as Linux follows
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(path) + string(filepath.Separator) + to
		}
		path = to
	}
	return path
}
