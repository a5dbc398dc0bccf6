package persist

import (
	"encoding/json"
	"errors"
	"io"
	"os"
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
