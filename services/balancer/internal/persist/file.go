package persist

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// format is the first field of every file of ours; what begins otherwise is
// somebody else's.
const format = "udplab-turns-1"

const (
	// maxSize is more than any file of ours has, in bytes.
	maxSize = 1 << 20
	// maxTurns is more than a balancer lives to hand out (a million a second
	// for 285 years), and what every reader of JSON takes exactly.
	maxTurns = 1 << 53
)

// file is the content.
type file struct {
	Format string `json:"format"`
	Cursor
	Ended bool `json:"ended"` // the run came to its end, so no turn is missing
}

var (
	errForeign = errors.New("is not ours and is left alone")
	errDamaged = errors.New("is damaged")
)

// read reads a regular file. Anything else, such as a device or a pipe, would
// block the start or be replaced by a file.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize))
}

// parse reads content. It returns errDamaged for what is, or began as, a file
// of ours (an empty one did), and errForeign for anything else.
func parse(content []byte) (f file, err error) {
	err = json.Unmarshal(content, &f)
	switch {
	case err == nil && f.Format == format && f.plausible():
		return f, nil
	case f.Format == format, begunByUs(content):
		return file{}, errDamaged
	}
	return file{}, errForeign
}

// begunByUs says whether content is as much of a file of ours as there is of
// it, at least up to the format.
func begunByUs(content []byte) bool {
	const beginning = `{"format":"` + format + `"`
	n := min(len(content), len(beginning))
	return strings.HasPrefix(beginning, string(content[:n]))
}

// plausible says whether a balancer can have been there.
func (c Cursor) plausible() bool {
	if c.Turns == 0 {
		return c.Last == ""
	}
	return c.Turns <= maxTurns && slices.Contains(c.Names, c.Last)
}

// unfinished is the name of the file that replaces path once it is whole.
func unfinished(path string) string { return path + ".new" }

// removeUnfinished removes what a kill may have left, if it begins as ours does.
func removeUnfinished(path string) {
	if content, err := read(unfinished(path)); err == nil && begunByUs(content) {
		_ = os.Remove(unfinished(path)) // if it stays, it cannot be written
	}
}

// replace replaces path as a whole, so that it holds the old content or the new,
// also after a power cut: the new is synced before it takes the name, and then the
// directory is.
func replace(path string, content []byte) error {
	f, err := os.OpenFile(unfinished(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err = fill(f, content); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(path))
}

// fill writes a file that is new, and returns once the disk has all of it.
func fill(f interface {
	io.WriteCloser
	Sync() error
}, content []byte) error {
	_, err := f.Write(content)
	return cmp.Or(err, f.Sync(), f.Close())
}

// syncDir makes renames in a directory last. Not every system lets a directory
// be synced, and a renamed file is whole without it, so it fails only when the
// disk says that it is broken.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err == nil {
		defer dir.Close()
		err = dir.Sync()
	}
	if errors.Is(err, syscall.EIO) {
		return err
	}
	return nil
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
