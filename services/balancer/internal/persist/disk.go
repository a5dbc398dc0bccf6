package persist

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// replace puts content in the place of path as a whole, so that path holds the
// old content or the new, also after a power cut: the new is written beside it
// and synced before it takes the name, and then the directory is synced. A kill
// may leave the file beside it, which is never read; sweep removes it. The hook
// before is asked before every step, and its error is that of the step.
func replace(path string, content []byte, before func(step string) error) error {
	dir := filepath.Dir(path)
	var f *os.File
	for _, step := range []struct {
		name string
		take func() error
	}{
		{"create", func() (err error) { f, err = os.CreateTemp(dir, "."+filepath.Base(path)+".*"); return err }},
		{"write", func() error { _, err := f.Write(content); return err }},
		{"chmod", func() error { return f.Chmod(0o644) }},
		{"sync", func() error { return f.Sync() }},
		{"close", func() error { return f.Close() }},
		{"rename", func() error { return os.Rename(f.Name(), path) }},
		{"sync directory", func() error { return syncDir(dir) }},
	} {
		err := before(step.name)
		if err == nil {
			err = step.take()
		}
		if err != nil {
			if f != nil {
				_ = f.Close()
				_ = os.Remove(f.Name()) // nothing has this name after the rename
			}
			return err
		}
	}
	return nil
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

// sweep removes what kills have left beside path: files that replace named and
// that begin as ours do. What cannot be removed does no harm.
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
