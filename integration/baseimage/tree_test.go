package baseimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// entry is what a test looks at of a file in a tar stream.
type entry struct {
	mode    int64
	content string
}

// unpack reads a tar stream; a directory's name ends in a slash.
func unpack(t *testing.T, stream io.Reader) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", header.Name, header.Uid, header.Gid)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := entries[header.Name]; twice {
			t.Errorf("%s is there twice", header.Name)
		}
		entries[header.Name] = entry{header.Mode, string(content)}
	}
}

func TestTheImageHoldsWhatABuildNeedsAndNoMore(t *testing.T) {
	file := func(content string, mode fs.FileMode) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(content), Mode: mode}
	}
	tree := fstest.MapFS{
		"VERSION":                        file("go1.26", 0o600),
		"README.md":                      file("read me", 0o644),
		"bin/go":                         file("the tool", 0o755),
		"bin/gofmt":                      file("another", 0o755),
		"api/go1.txt":                    file("api", 0o644),
		"lib/time/zoneinfo.zip":          file("zones", 0o644),
		"pkg/include/textflag.h":         file("flags", 0o644),
		"pkg/tool/linux_amd64/compile":   file("compiler", 0o555),
		"pkg/obj/cache":                  file("old", 0o644),
		"src/fmt/print.go":               file("package fmt", 0o444),
		"src/fmt/print_test.go":          file("package fmt_test", 0o644),
		"src/embed/testdata/hello.txt":   file("hello", 0o644),
		"src/cmd/compile/main.go":        file("package main", 0o644),
		"src/internal/cmd/keep.go":       file("package cmd", 0o644),
		"src/vendor/modules.txt":         file("# vendored", 0o644),
		"test/helloworld.go":             file("package main", 0o644),
		"src/crypto/internal/table.bin":  file("\x00\x01", 0o644),
		"src/testing/testing_test.goish": file("kept", 0o644),
	}
	var out bytes.Buffer
	if err := writeImage(&out, tree, []byte("CERTIFICATES")); err != nil {
		t.Fatal(err)
	}
	dir := entry{mode: 0o755}
	want := map[string]entry{
		"etc/ssl/certs/":                              dir,
		"etc/ssl/certs/ca-certificates.crt":           {0o644, "CERTIFICATES"},
		"go/":                                         {mode: 0o777},
		"root/":                                       {mode: 0o700},
		"tmp/":                                        {mode: 0o1777},
		"usr/local/go/":                               dir,
		"usr/local/go/VERSION":                        {0o644, "go1.26"},
		"usr/local/go/bin/":                           dir,
		"usr/local/go/bin/go":                         {0o755, "the tool"},
		"usr/local/go/lib/":                           dir,
		"usr/local/go/lib/time/":                      dir,
		"usr/local/go/lib/time/zoneinfo.zip":          {0o644, "zones"},
		"usr/local/go/pkg/":                           dir,
		"usr/local/go/pkg/include/":                   dir,
		"usr/local/go/pkg/include/textflag.h":         {0o644, "flags"},
		"usr/local/go/pkg/tool/":                      dir,
		"usr/local/go/pkg/tool/linux_amd64/":          dir,
		"usr/local/go/pkg/tool/linux_amd64/compile":   {0o755, "compiler"},
		"usr/local/go/src/":                           dir,
		"usr/local/go/src/crypto/":                    dir,
		"usr/local/go/src/crypto/internal/":           dir,
		"usr/local/go/src/crypto/internal/table.bin":  {0o644, "\x00\x01"},
		"usr/local/go/src/embed/":                     dir,
		"usr/local/go/src/fmt/":                       dir,
		"usr/local/go/src/fmt/print.go":               {0o644, "package fmt"},
		"usr/local/go/src/internal/":                  dir,
		"usr/local/go/src/internal/cmd/":              dir,
		"usr/local/go/src/internal/cmd/keep.go":       {0o644, "package cmd"},
		"usr/local/go/src/testing/":                   dir,
		"usr/local/go/src/testing/testing_test.goish": {0o644, "kept"},
		"usr/local/go/src/vendor/":                    dir,
		"usr/local/go/src/vendor/modules.txt":         {0o644, "# vendored"},
	}
	if diff := cmp.Diff(want, unpack(t, &out), cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestATreeThatIsSpreadBySymbolicLinksArrivesWhole(t *testing.T) {
	share, root := t.TempDir(), t.TempDir()
	for path, content := range map[string]string{
		filepath.Join(share, "fmt", "print.go"): "package fmt",
		filepath.Join(share, "go.env"):          "GOTOOLCHAIN=auto",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"src": share, "go.env": filepath.Join(share, "go.env")} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	var out bytes.Buffer
	if err := writeImage(&out, os.DirFS(root), nil); err != nil {
		t.Fatal(err)
	}
	entries := unpack(t, &out)
	if entries["usr/local/go/src/fmt/print.go"].content != "package fmt" || entries["usr/local/go/go.env"].content != "GOTOOLCHAIN=auto" {
		t.Errorf("%v", entries)
	}
}

// full is a writer that takes so many bytes and no more.
type full int

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if *f -= full(len(p)); *f < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestAStreamThatBreaksIsAnErrorWhereverItBreaks(t *testing.T) {
	tree := fstest.MapFS{"VERSION": {Data: []byte("go1.26")}, "src/fmt/print.go": {Data: []byte("package fmt")}}
	var whole bytes.Buffer
	if err := writeImage(&whole, tree, []byte("CERTIFICATES")); err != nil {
		t.Fatal(err)
	}
	for room := range whole.Len() {
		out := full(room)
		if err := writeImage(&out, tree, []byte("CERTIFICATES")); !errors.Is(err, errFull) {
			t.Fatalf("room for %d bytes of %d: error %v", room, whole.Len(), err)
		}
	}
	if err := writeImage(io.Discard, os.DirFS(filepath.Join(t.TempDir(), "gone")), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tree that is not there: %v", err)
	}
}

func TestNeeded(t *testing.T) {
	yes := strings.Fields("bin bin/go go.env VERSION LICENSE lib lib/wasm/x pkg pkg/tool pkg/tool/linux_amd64/link pkg/include src src/fmt src/cmdx/a.go")
	no := strings.Fields("bin/gofmt README.md test test/x.go api doc misc pkg/linux_amd64 src/cmd src/cmd/go/main.go src/os/testdata src/os/os_test.go codereview.cfg")
	for _, name := range slices.Concat(yes, no) {
		if got := needed(name); got != slices.Contains(yes, name) {
			t.Errorf("%s: %t", name, got)
		}
	}
}
