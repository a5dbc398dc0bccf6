// Package persist keeps whose turn it is over restarts, in a small file.
//
// The file says how many turns there have been and which server had the last
// one, by name, so that a changed list of servers is understood. It is replaced
// as a whole, so it is never half of anything. A file that is not ours is never
// overwritten.
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

// Cursor is where the order of turns stands.
type Cursor struct {
	Turns uint64   `json:"turns"`    // the number of the last turn; 0: there has been none
	Last  string   `json:"last"`     // the server that had it, one of Names; empty if there has been none
	Names []string `json:"backends"` // the servers at that turn, in turn order
}

// Next is the index in today's list of the server whose turn comes next: the one
// after the last; if the last is gone, the first that came after it and is still
// there; if none is, the first of the list.
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
	path    string
	replace func(path string, content []byte) error
	log     *slog.Logger
	saved   *file  // what this run has written last; nil: nothing yet
	there   []byte // what the file holds, as far as this run knows
}

// Open reads the file and returns where to go on with today's servers. A
// symbolic link is followed. A file that does not exist yet is the beginning. So
// is one that cannot be used; then the log has a warning that says why, and the
// Store may be nil.
func Open(path string, today []string, log *slog.Logger) (*Store, Cursor) {
	return open(path, today, log, replace)
}

func open(path string, today []string, log *slog.Logger, replace func(path string, content []byte) error) (*Store, Cursor) {
	s := &Store{path: target(path), replace: replace, log: log}
	removeUnfinished(s.path)
	f, err := s.load()
	if errors.Is(err, errDamaged) {
		log.Warn(fmt.Sprintf("%v; turns start from %s", err, today[0]))
		f, err = file{Ended: true}, nil
	}
	c := Cursor{Names: today}
	if f.Turns > 0 {
		c = f.Cursor
	}
	// The file now says that a run is under way. If nothing can be kept there, the
	// start says so. A full disk may have room later.
	if err == nil {
		err = s.save(c, false)
	}
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if err != nil && !full {
		log.Warn(fmt.Sprintf("%v; turns start from %s and are not kept", err, today[0]))
		return nil, Cursor{Names: today}
	}
	next := today[c.Next(today)]
	if !slices.Equal(c.Names, today) {
		log.Warn(fmt.Sprintf("the servers have changed from %q to %q; the last turn was %q's, the next is %s's",
			strings.Join(c.Names, ","), strings.Join(today, ","), c.Last, next))
	}
	if full {
		log.Warn(fmt.Sprintf("%v; turns are not kept until there is room", err))
	}
	switch {
	case !f.Ended:
		log.Warn(fmt.Sprintf("the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn %d: the next is %s's", c.Turns, next))
	case c.Turns > 0:
		log.Info(fmt.Sprintf("going on after turn %d of an earlier run: the next is %s's", c.Turns, next))
	}
	return s, c
}

// load reads what an earlier run has left. If there is no file, that run came to
// its end without a turn.
func (s *Store) load() (f file, err error) {
	s.there, err = read(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{Ended: true}, nil
	}
	if err != nil {
		return f, fmt.Errorf("state file %s cannot be read: %w", s.path, err)
	}
	if f, err = parse(s.there); err != nil {
		return f, fmt.Errorf("state file %s %w", s.path, err)
	}
	return f, nil
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
// is for one goroutine at a time. A file that somebody else has put there
// meanwhile is left alone: that is an error, until it is gone.
func (s *Store) save(c Cursor, ended bool) error {
	f := file{Format: format, Cursor: c, Ended: ended}
	if s.saved != nil && s.saved.Turns == c.Turns {
		if s.saved.Ended == ended {
			return nil
		}
		f.Cursor = s.saved.Cursor // the list may be another than that of the turn
	}
	content, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if now, err := read(s.path); !errors.Is(err, fs.ErrNotExist) && (err != nil || !bytes.Equal(now, s.there)) {
		return fmt.Errorf("state file %s has been changed by somebody else and is left alone", s.path)
	}
	content = append(content, '\n')
	if err := s.replace(s.path, content); err != nil {
		return fmt.Errorf("state file %s cannot be written: %w", s.path, err)
	}
	s.saved, s.there = &f, content
	return nil
}
