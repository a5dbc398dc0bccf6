package persist

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var allSteps = []string{"create", "write", "chmod", "sync", "close", "rename", "sync directory"}

// A power cut keeps what has been synced, and of the rest anything. So the path
// leads to the old content until the new has been synced, and then to the new.
func TestAFileIsWrittenAndSyncedBeforeItTakesTheName(t *testing.T) {
	path, steps := at(t, ""), []string(nil)
	s, _, _ := opened(path, three, func(step string) error {
		steps = append(steps, step)
		if turns := uint64(18); len(steps) > len(allSteps) { // not those of the start
			if len(steps) < 2*len(allSteps) {
				turns = 17
			}
			if got := contentOf(t, path); got != written(t, after(turns)) {
				t.Errorf("before %q the file holds %s", step, got)
			}
		}
		return nil
	})
	put(t, path, written(t, after(17)))
	s.there = []byte(written(t, after(17)))
	for range 2 { // the second has nothing new
		s.mustSave(t, after(18))
	}
	if want := slices.Concat(allSteps, allSteps); !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

func TestAStepThatFailsLeavesTheOldFileAndNothingBesideIt(t *testing.T) {
	for _, failAt := range allSteps {
		t.Run(failAt, func(t *testing.T) {
			path, broken := at(t, written(t, after(17))), false
			s, _, _ := opened(path, three, func(step string) error {
				if broken && step == failAt {
					return syscall.EIO
				}
				return nil
			})
			broken = true
			if err := s.save(after(18), false); !errors.Is(err, syscall.EIO) {
				t.Errorf("returned %v", err)
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
				t.Errorf("the directory holds %v: %v", entries, err)
			}
			if failAt == "sync directory" {
				return // the new file has its name, but may not last
			}
			if got := contentOf(t, path); got != written(t, after(17)) {
				t.Errorf("the file holds %s", got)
			}
			broken = false
			s.mustSave(t, after(18))
			reopen(t, path, after(18))
		})
	}
}

func TestOnlyWhatAKillLeftIsSweptAway(t *testing.T) {
	ours := written(t, after(17))
	path := at(t, ours)
	dir, leftover := filepath.Dir(path), ""
	s, _, _ := opened(path, three, func(step string) (err error) {
		if files, _ := filepath.Glob(filepath.Join(dir, ".turns.*")); step == "rename" {
			leftover = files[0] + "0"
			err = os.Link(files[0], leftover)
		}
		return err
	})
	if s == nil || contentOf(t, leftover) != ours {
		t.Fatalf("store %v, beside it %q", s, leftover)
	}
	beside := map[string]string{".turns.123": "my own notes", ".turns.old": ours, ".turns.": ours, "turns.123": ours, ".other.123": ours}
	for name, content := range beside {
		put(t, filepath.Join(dir, name), content)
	}
	reopen(t, path, after(17))
	if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the kill left is still there: %v", err)
	}
	for name, content := range beside {
		if got := contentOf(t, filepath.Join(dir, name)); got != content {
			t.Errorf("%s holds %q", name, got)
		}
	}
}

func TestOnlyAFullDiskMayPass(t *testing.T) {
	for why, tt := range map[error]struct {
		want  string
		keeps bool
	}{
		syscall.ENOSPC: {"turns are not kept until there is room", true},
		syscall.EDQUOT: {"turns are not kept until there is room", true},
		syscall.EROFS:  {"turns start from server1 and are not kept", false},
	} {
		path, broken := at(t, written(t, after(17))), why
		s, c, said := opened(path, three, func(step string) error {
			if step == "write" {
				return broken
			}
			return nil
		})
		want := fmt.Sprintf("WARN state file %s cannot be written: %v; %s\n", path, why, tt.want)
		if !strings.HasPrefix(said, want) || (s != nil) != tt.keeps || (c.Turns == 17) != tt.keeps {
			t.Errorf("store %v, cursor %+v, said %swant %s", s, c, said, want)
		}
		if broken = nil; s != nil {
			s.mustSave(t, after(18))
			reopen(t, path, after(18))
		}
	}
}

func TestALinkIsFollowed(t *testing.T) {
	for name, tt := range map[string]struct {
		link string
		want Cursor
	}{
		"to a file":                       {"DIR/there", after(17)},
		"to a file that is not there yet": {"DIR/there", after(0)},
		"to a link, both relative":        {"../links/next", after(17)},
	} {
		t.Run(name, func(t *testing.T) {
			there := filepath.Join(t.TempDir(), "there")
			links := filepath.Join(filepath.Dir(there), "links")
			link := filepath.Join(links, "turns")
			if tt.want.Turns > 0 {
				put(t, there, written(t, tt.want))
			}
			if err := cmp.Or(os.Mkdir(links, 0o755), os.Symlink("../there", filepath.Join(links, "next")),
				os.Symlink(strings.Replace(tt.link, "DIR", filepath.Dir(there), 1), link)); err != nil {
				t.Fatal(err)
			}
			reopen(t, link, tt.want).mustSave(t, after(18))
			if got := contentOf(t, there); got != written(t, after(18)) {
				t.Errorf("the file holds %s", got)
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link is no link any more: %v, %v", info, err)
			}
		})
	}
}
