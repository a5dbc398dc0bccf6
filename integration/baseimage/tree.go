package baseimage

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// writeImage writes the root of an image as a tar stream: the Go tree below
// usr/local/go, the certificates, and the directories that Go writes to.
func writeImage(out io.Writer, goroot fs.FS, certificates []byte) error {
	w := tar.NewWriter(out)
	for _, dir := range []struct {
		path string
		mode int64
	}{
		{"etc/ssl/certs", 0o755}, {"go", 0o777}, {"root", 0o700}, {"tmp", 0o1777}, {"usr/local/go", 0o755},
	} {
		if err := writeDirectory(w, dir.path, dir.mode); err != nil {
			return err
		}
	}
	if err := writeHeader(w, "etc/ssl/certs/ca-certificates.crt", 0o644, int64(len(certificates)), time.Time{}); err != nil {
		return err
	}
	if _, err := w.Write(certificates); err != nil {
		return err
	}
	if err := writeTree(w, goroot, ".", "usr/local/go"); err != nil {
		return err
	}
	return w.Close()
}

// writeTree writes what is needed of the directory from in tree to the
// directory to in the stream. It follows symbolic links, by which some
// distributions spread the tree over several places.
func writeTree(w *tar.Writer, tree fs.FS, from, to string) error {
	entries, err := fs.ReadDir(tree, from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		source, target := path.Join(from, entry.Name()), path.Join(to, entry.Name())
		if !needed(source) {
			continue
		}
		info, err := fs.Stat(tree, source)
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := writeDirectory(w, target, 0o755); err != nil {
				return err
			}
			err = writeTree(w, tree, source, target)
		} else {
			err = writeFile(w, tree, source, target, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// needed says whether a build needs this file or directory of a Go tree. Left
// out are the tests and the sources of the toolchain, which are most of it.
func needed(name string) bool {
	first, rest, below := strings.Cut(name, "/")
	second, _, _ := strings.Cut(rest, "/")
	switch {
	case !slices.Contains([]string{"bin", "lib", "pkg", "src", "go.env", "LICENSE", "VERSION"}, first):
		return false
	case path.Base(name) == "testdata", strings.HasSuffix(name, "_test.go"):
		return false
	case below && first == "bin":
		return second == "go"
	case below && first == "pkg":
		return second == "include" || second == "tool"
	case below && first == "src":
		return second != "cmd"
	}
	return true
}

func writeDirectory(w *tar.Writer, name string, mode int64) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func writeHeader(w *tar.Writer, name string, mode, size int64, changed time.Time) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: changed})
}

// writeFile copies a file, owned by root as everything here, readable for all
// and executable if it was.
func writeFile(w *tar.Writer, tree fs.FS, source, target string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a directory", source)
	}
	file, err := tree.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := writeHeader(w, target, mode, info.Size(), info.ModTime()); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}
