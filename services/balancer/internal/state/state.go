// Package state keeps the rotation's place over restarts, in a small file.
//
// The file says how many turns there have been and who had the last one, by
// name, so that a changed list of backends is understood. It is replaced as a
// whole (write, fsync, rename), so it is never half of anything; and a file
// that is not ours is never overwritten.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// format is the first field of every file of ours; what begins otherwise is
// somebody else's.
const format = "udplab-turns-1"

// maxSize is more than any file of ours has, in bytes.
const maxSize = 1 << 20

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
// error that says why; the store may then be nil: nothing is to be saved.
func Open(path string, names []string) (*Store, Cursor, error) {
	s := &Store{path: path, names: names}
	content, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.writable(Cursor{}, nil)
	}
	if err != nil {
		return nil, Cursor{}, fmt.Errorf("state file: %w; turns start from %s and are not kept", err, names[0])
	}
	var f file
	err = json.Unmarshal(content, &f)
	switch {
	case err == nil && f.Format == format:
		return s.writable(f.resume(names))
	case len(content) == 0, ours(content):
		return s.writable(Cursor{}, fmt.Errorf("state file %s is damaged; turns start from %s", path, names[0]))
	}
	return nil, Cursor{}, fmt.Errorf("state file %s is not ours and is left alone; turns start from %s and are not kept", path, names[0])
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize))
}

// ours says whether damaged content began as a file of ours.
func ours(content []byte) bool {
	beginning := []byte(`{"format":"` + format + `"`)
	n := min(len(content), len(beginning))
	return bytes.Equal(content[:n], beginning[:n])
}

// writable tries to write the cursor back, so that a place where nothing can
// be kept is known at the start.
func (s *Store) writable(c Cursor, warning error) (*Store, Cursor, error) {
	if err := s.Save(c); err != nil {
		return nil, c, errors.Join(warning, fmt.Errorf("%w; turns are not kept", err))
	}
	return s, c, warning
}

// resume finds the place in today's list of backends. The one after the last
// is next; if the last is gone, the first after it that is still there.
func (f file) resume(names []string) (c Cursor, changed error) {
	c.Number = f.Turns
	if !slices.Equal(f.Backends, names) {
		changed = fmt.Errorf("the backends have changed from %v to %v; turns go on after %s", f.Backends, names, f.Last)
	}
	if i := slices.Index(names, f.Last); i >= 0 {
		c.Next = (i + 1) % len(names)
		return c, changed
	}
	from := slices.Index(f.Backends, f.Last)
	for k := 1; from >= 0 && k < len(f.Backends); k++ {
		if i := slices.Index(names, f.Backends[(from+k)%len(f.Backends)]); i >= 0 {
			c.Next = i
			return c, changed
		}
	}
	return c, changed
}

// Save replaces the file, unless it says the same already.
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
		return fmt.Errorf("state file: %w", err)
	}
	s.saved = content
	return nil
}

// replace writes content to a new file beside path and renames it, so that
// path holds the old content or the new, also after a power cut.
func replace(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	syncDirectory(filepath.Dir(path))
	return nil
}

// syncDirectory makes the rename itself last. Not every system lets a
// directory be synced, and the content is safe without.
func syncDirectory(path string) {
	if d, err := os.Open(path); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
