// Package persist keeps the place in the order of turns over restarts, in a
// small file.
//
// The file says how many turns there have been and which server had the last
// one, by name, so that a changed list of servers is understood. It is replaced
// as a whole (disk.go), so it is never half of anything. A file that is not ours
// is never overwritten.
package persist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"time"
)

// saveEvery is how often the cursor is saved, and so how much of it a kill
// loses at most.
const saveEvery = time.Second

// Cursor is a place in the order of turns.
type Cursor struct {
	Turns uint64   // the number of the last turn; 0: there has been none
	Last  string   // the server that had it, one of Names; empty if there has been none
	Names []string // the servers at that turn, in turn order
}

// Next is the place, counted from 0, of the server in a list of today whose turn
// comes next: the one after the last; if the last is gone, the first that came
// after it and is still there; if none is, the first of the list.
func (c Cursor) Next(today []string) int {
	if c.Turns == 0 {
		return 0
	}
	if i := slices.Index(today, c.Last); i >= 0 {
		return (i + 1) % len(today)
	}
	last := max(slices.Index(c.Names, c.Last), 0)
	for _, name := range slices.Concat(c.Names[last:], c.Names[:last]) {
		if i := slices.Index(today, name); i >= 0 {
			return i
		}
	}
	return 0
}

// Store is the file at a path. A nil Store keeps nothing.
type Store struct {
	path  string
	disk  disk
	log   *slog.Logger
	saved *file  // what this run has written last; nil: nothing yet
	there []byte // what the file holds, as far as this run knows; nil: nothing of use
}

// Open reads the file and returns where to go on with today's servers. A
// symbolic link is followed. A file that does not exist yet is the beginning. So
// is one that cannot be used; then the log has a warning that says why, and the
// Store may be nil.
func Open(path string, today []string, log *slog.Logger) (*Store, Cursor) {
	s, c, cutOff, err := open(path, today, system)
	if err != nil {
		log.Warn(err.Error())
	}
	next := today[c.Next(today)]
	switch {
	case cutOff:
		log.Warn(fmt.Sprintf("the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn %d: the next is %s's", c.Turns, next))
	case c.Turns > 0:
		log.Info(fmt.Sprintf("going on after turn %d of an earlier run: the next is %s's", c.Turns, next))
	}
	if s != nil {
		s.log = log
	}
	return s, c
}

// open is Open without a log. It also says whether the run before was killed or
// lost its power, so that turns after its last save are missing.
func open(path string, today []string, d disk) (s *Store, c Cursor, cutOff bool, err error) {
	s, c = &Store{path: target(path), disk: d}, Cursor{Names: today}
	sweep(s.path)
	var f file
	content, err := read(s.path)
	if err == nil {
		f, err = parse(content)
	}
	var why *fs.PathError
	switch {
	case err == nil:
		s.there, cutOff = content, !f.Ended
		if f.Turns > 0 {
			c = Cursor{f.Turns, f.Last, f.Backends}
			err = changed(c, today)
		}
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case errors.Is(err, errDamaged):
		err = fmt.Errorf("state file %s is damaged; turns start from %s", path, today[0])
	case errors.Is(err, errForeign):
		return nil, c, false, fmt.Errorf("state file %s is not ours and is left alone; turns start from %s and are not kept", path, today[0])
	default:
		if errors.As(err, &why) {
			err = why.Err
		}
		return nil, c, false, fmt.Errorf("state file %s cannot be read: %w; turns start from %s and are not kept", path, err, today[0])
	}

	// The file now says that a run is under way, and a place where nothing can be
	// kept is known at the start. Only a full disk may pass.
	failed := s.save(c, false)
	switch {
	case failed == nil:
		return s, c, cutOff, err
	case errors.Is(failed, syscall.ENOSPC), errors.Is(failed, syscall.EDQUOT):
		failed = fmt.Errorf("%w; turns are not kept until there is room", failed)
		if err != nil {
			failed = fmt.Errorf("%w; %w", err, failed)
		}
		return s, c, cutOff, failed
	}
	return nil, Cursor{Names: today}, false, fmt.Errorf("%w; turns start from %s and are not kept", failed, today[0])
}

// changed is the warning that the list of servers is another than before, or nil.
func changed(c Cursor, today []string) error {
	if slices.Equal(c.Names, today) {
		return nil
	}
	return fmt.Errorf("the servers have changed from %q to %q; the last turn was %q's, the next is %s's",
		strings.Join(c.Names, ","), strings.Join(today, ","), c.Last, today[c.Next(today)])
}

// Keep saves the cursor every second while there are new turns, and at the end
// of the context. Trouble is logged when it begins and when it is over.
func (s *Store) Keep(ctx context.Context, cursor func() Cursor) {
	if s == nil {
		return
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	failed := false
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		err := s.save(cursor(), ended)
		switch {
		case err != nil && !failed:
			s.log.Warn(err.Error())
		case err == nil && failed:
			s.log.Info("the state file is written again")
		}
		failed = err != nil
	}
}

// save replaces the file, unless there has been no turn since the last time. It
// is for one goroutine at a time. A
// file that somebody else has put there meanwhile is left alone: that is an
// error, until it is gone.
func (s *Store) save(c Cursor, ended bool) error {
	f := file{Format: format, Turns: c.Turns, Last: c.Last, Backends: c.Names, Ended: ended}
	if s.saved != nil && s.saved.Turns == c.Turns {
		if s.saved.Ended == ended {
			return nil
		}
		f.Last, f.Backends = s.saved.Last, s.saved.Backends // the list may have changed since that turn
	}
	content, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if !s.isOurs() {
		return fmt.Errorf("state file %s has been changed by somebody else and is left alone", s.path)
	}
	content = append(content, '\n')
	if err := s.disk.replace(s.path, content); err != nil {
		return fmt.Errorf("state file %s cannot be written: %w", s.path, err)
	}
	s.saved, s.there = &f, content
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
