// Package state keeps the rotation's place over restarts, in a small file.
//
// The file says how many turns there have been and who had the last one, by
// name, so that a changed list of backends is understood. It is replaced as a
// whole (write, fsync, rename), so it is never half of anything; and a file
// that is not ours is never overwritten.
package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	Format   string   `json:"format"`
	Turns    uint64   `json:"turns"`    // how many there have been
	Last     string   `json:"last"`     // who had the last one; empty: nobody yet
	Backends []string `json:"backends"` // in turn order
}

// Cursor is a place in the rotation: the number of the next turn, and which
// backend's it would be.
type Cursor struct {
	Number uint64
	Next   int
}

// Store is the file at a path, for backends of these names.
type Store struct {
	path  string
	names []string
	saved []byte // what the file holds
}

// Open reads the file and returns where to go on. A file that does not exist
// yet is the beginning. One that cannot be used is the beginning too, with an
// error of one line that says why; the store may then be nil: nothing is to be
// saved.
func Open(path string, names []string) (*Store, Cursor, error) {
	s := &Store{path: path, names: names}
	content, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.writable(Cursor{}, nil)
	}
	if err != nil {
		return nil, Cursor{}, fmt.Errorf("state file: %w; turns start from %s and are not kept", err, names[0])
	}
	f, err := parse(content)
	switch {
	case errors.Is(err, errForeign):
		return nil, Cursor{}, fmt.Errorf("state file %s is not ours and is left alone; turns start from %s and are not kept", path, names[0])
	case err != nil:
		return s.writable(Cursor{}, fmt.Errorf("state file %s is damaged; turns start from %s", path, names[0]))
	}
	return s.writable(f.resume(names))
}

// read reads a regular file. Anything else, such as a device or a pipe, would
// block the start or be replaced by a file.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize))
}

var (
	errForeign = errors.New("not a file of ours")
	errDamaged = errors.New("a file of ours that cannot be right")
)

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
	beginning := []byte(`{"format":"` + format + `"`)
	n := min(len(content), len(beginning))
	return bytes.Equal(content[:n], beginning[:n])
}

// plausible says whether a balancer can have written the values.
func (f file) plausible() bool {
	if f.Turns == 0 {
		return f.Last == ""
	}
	return f.Turns <= maxTurns && slices.Contains(f.Backends, f.Last)
}

// writable tries to write the cursor back, so that a place where nothing can
// be kept is known at the start.
func (s *Store) writable(c Cursor, warning error) (*Store, Cursor, error) {
	if err := s.Save(c); err != nil {
		if warning != nil {
			err = fmt.Errorf("%w; %w", warning, err)
		}
		return nil, c, fmt.Errorf("%w; turns are not kept", err)
	}
	return s, c, warning
}

// resume finds the place in today's list of backends, and says if the list is
// another than before.
func (f file) resume(names []string) (c Cursor, changed error) {
	if f.Turns == 0 {
		return Cursor{}, nil
	}
	c = Cursor{Number: f.Turns, Next: f.next(names)}
	if !slices.Equal(f.Backends, names) {
		changed = fmt.Errorf("the servers have changed from %q to %q; the last turn was %q's, the next is %s's",
			strings.Join(f.Backends, ","), strings.Join(names, ","), f.Last, names[c.Next])
	}
	return c, changed
}

// next is whose turn comes next: the one after the last in today's order; if
// the last is gone, the first that came after it and is still there; if nobody
// is, the first.
func (f file) next(names []string) int {
	if i := slices.Index(names, f.Last); i >= 0 {
		return (i + 1) % len(names)
	}
	from := slices.Index(f.Backends, f.Last)
	for k := range f.Backends {
		if i := slices.Index(names, f.Backends[(from+k)%len(f.Backends)]); i >= 0 {
			return i
		}
	}
	return 0
}

// Save replaces the file, unless it says the same already. It is for one
// goroutine at a time.
func (s *Store) Save(c Cursor) error {
	f := file{Format: format, Turns: c.Number, Backends: s.names}
	if c.Number > 0 {
		f.Last = s.names[(c.Next+len(s.names)-1)%len(s.names)]
	}
	content, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if bytes.Equal(content, s.saved) {
		return nil
	}
	if err := replace(s.path, append(content, '\n')); err != nil {
		return fmt.Errorf("state file %s cannot be written: %w", s.path, err)
	}
	s.saved = content
	return nil
}

// replace puts content in the place of path as a whole, so that path holds the
// old content or the new, also after a power cut.
func replace(path string, content []byte) error {
	beside, err := writeBeside(path, content)
	if err != nil {
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		os.Remove(beside)
		return err
	}
	syncDirectory(filepath.Dir(path))
	return nil
}

// writeBeside writes content to a new hidden file in the directory of path and
// returns its name; after an error there is no such file. Nobody ever reads
// one that a kill left behind.
func writeBeside(path string, content []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// syncDirectory makes the rename itself last. Not every system lets a
// directory be synced, and the content is safe without.
func syncDirectory(path string) {
	if d, err := os.Open(path); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
