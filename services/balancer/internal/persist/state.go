// Package persist keeps the rotation's place over restarts, in a small file.
//
// The file says how many turns there have been and who had the last one, by
// name, so that a changed list of backends is understood. It is replaced as a
// whole (disk.go), so it is never half of anything; and a file that is not ours
// is never overwritten.
package persist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	Format   string   `json:"format"`
	Turns    uint64   `json:"turns"`    // how many there have been
	Last     string   `json:"last"`     // who had the last one; empty: nobody yet
	Backends []string `json:"backends"` // in turn order
	Ended    bool     `json:"ended"`    // the run came to its end, so no turn is missing
}

// Cursor is a place in the rotation: the number of the next turn, and which
// backend's it would be.
type Cursor struct {
	Number uint64
	Next   int
}

// Store is the file at a path, for backends of these names.
type Store struct {
	path   string
	names  []string
	disk   disk
	saved  []byte // what this run has written last
	there  []byte // what the file holds, as far as this run knows; nil: nothing of use
	behind bool
}

// Open reads the file and returns where to go on. A file that does not exist
// yet is the beginning. One that cannot be used is the beginning too, with an
// error of one line that says why; the store may then be nil: nothing is to be
// saved. A symbolic link is followed.
func Open(path string, names []string) (*Store, Cursor, error) {
	return open(&Store{path: target(path), names: names, disk: system}, path)
}

// open is Open for a store of any disk; path is what the user called it.
func open(s *Store, path string) (*Store, Cursor, error) {
	sweep(s.path)
	content, err := read(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.begin(Cursor{}, nil)
	}
	first := s.names[0]
	if err != nil {
		if why := (*fs.PathError)(nil); errors.As(err, &why) {
			err = why.Err
		}
		return nil, Cursor{}, fmt.Errorf("state file %s cannot be read: %w; turns start from %s and are not kept", path, err, first)
	}
	f, err := parse(content)
	switch {
	case errors.Is(err, errForeign):
		return nil, Cursor{}, fmt.Errorf("state file %s is not ours and is left alone; turns start from %s and are not kept", path, first)
	case err != nil:
		return s.begin(Cursor{}, fmt.Errorf("state file %s is damaged; turns start from %s", path, first))
	}
	s.behind = !f.Ended
	s.there = content
	return s.begin(f.resume(s.names))
}

// Behind says whether the run before was killed or lost its power, so that the
// turns it had after its last Save, perhaps all, are missing.
func (s *Store) Behind() bool { return s.behind }

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

// begin writes the cursor back, so that the file says that a run is under way,
// and a place where nothing can be kept is known at the start. Of the reasons
// why it cannot be written only a full disk may pass: then the store tries
// again.
func (s *Store) begin(c Cursor, warning error) (*Store, Cursor, error) {
	err := s.Save(c)
	switch {
	case err == nil:
		return s, c, warning
	case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT):
		return nil, Cursor{}, fmt.Errorf("%w; turns start from %s and are not kept", err, s.names[0])
	case warning != nil:
		err = fmt.Errorf("%w; %w", warning, err)
	}
	return s, c, fmt.Errorf("%w; turns are not kept until there is room", err)
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
// goroutine at a time. A file that somebody else has put there meanwhile is left
// alone: that is an error, until it is gone.
func (s *Store) Save(c Cursor) error { return s.save(c, false) }

// End is the last Save of a run.
func (s *Store) End(c Cursor) error { return s.save(c, true) }

func (s *Store) save(c Cursor, ended bool) error {
	f := file{Format: format, Turns: c.Number, Backends: s.names, Ended: ended}
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
	if !s.isOurs() {
		return fmt.Errorf("state file %s has been changed by somebody else and is left alone", s.path)
	}
	text := append(slices.Clip(content), '\n')
	if err := s.disk.replace(s.path, text); err != nil {
		return fmt.Errorf("state file %s cannot be written: %w", s.path, err)
	}
	s.saved, s.there = content, text
	return nil
}

// isOurs says whether the file is as this run read it or wrote it last, or is
// gone.
func (s *Store) isOurs() bool {
	now, err := read(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil:
		return false
	case s.there == nil: // it was damaged when it was read
		_, err := parse(now)
		return errors.Is(err, errDamaged)
	}
	return bytes.Equal(now, s.there)
}
