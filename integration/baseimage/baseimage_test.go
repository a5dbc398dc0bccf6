package baseimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

func TestTheTagNamesTheVersion(t *testing.T) {
	for version, want := range map[string]string{
		"go1.26.8":                        "udplab-go:1.26.8",
		"go1.27rc1":                       "udplab-go:1.27rc1",
		"go1.26.0-X:nogreenteagc":         "udplab-go:1.26.0-X_nogreenteagc",
		"devel go1.27-a1b2 Mon Nov 23":    "udplab-go:devel_go1.27-a1b2_Mon_Nov_23",
		"go1." + strings.Repeat("1", 200): "udplab-go:1." + strings.Repeat("1", 98),
	} {
		if got := (source{version: version}).tag(); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}

func TestWhateverGoesInChangesTheSum(t *testing.T) {
	base := source{version: "go1.26", certificates: []byte("A"), settings: []string{"GOPROXY=x"}}
	sums := []string{base.inputs()}
	for _, other := range []source{
		{version: "go1.27", certificates: []byte("A"), settings: []string{"GOPROXY=x"}},
		{version: "go1.26", certificates: []byte("B"), settings: []string{"GOPROXY=x"}},
		{version: "go1.26", certificates: []byte("A"), settings: []string{"GOPROXY=y"}},
		{version: "go1.26", certificates: []byte("AGOPROXY=x")},
	} {
		sum := other.inputs()
		if slices.Contains(sums, sum) {
			t.Errorf("%+v has the sum of another", other)
		}
		sums = append(sums, sum)
	}
	base.goroot = "/elsewhere" // only the place
	if base.inputs() != sums[0] {
		t.Error("the place of the tree changes the sum")
	}
}

func TestSettingsReachTheImage(t *testing.T) {
	changes := source{version: "go1.26", settings: []string{"GOPROXY=file:///a b,direct"}}.changes()
	for _, want := range []string{"ENV PATH=/usr/local/go/bin", "ENV GOTOOLCHAIN=local", `ENV GOPROXY="file:///a b,direct"`} {
		if !slices.Contains(changes, want) {
			t.Errorf("no %s in %q", want, changes)
		}
	}
}

func TestCertificates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.pem")
	if err := os.WriteFile(path, []byte("SITE"), 0o644); err != nil {
		t.Fatal(err)
	}
	if pem, err := certificates(path); string(pem) != "SITE" || err != nil {
		t.Errorf("%q, %v", pem, err)
	}
	if _, err := certificates(path + ".gone"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a bundle that was named and is not there: %v", err)
	}
	if _, err := certificates(""); err != nil {
		t.Errorf("the usual places: %v", err)
	}
}

// program is a Linux program of a single segment, as far as its headers go.
func program(segment elf.ProgType) []byte {
	var out bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	binary.Write(&out, binary.LittleEndian, header)
	binary.Write(&out, binary.LittleEndian, elf.Prog64{Type: uint32(segment)})
	return out.Bytes()
}

func TestATreeIsUsableIfItsProgramsNeedNothingElse(t *testing.T) {
	for _, tt := range []struct {
		name    string
		goTool  []byte
		foreign string
	}{
		{"a static program", program(elf.PT_LOAD), ""},
		{"one that loads the C library", program(elf.PT_INTERP), "needs the system's C library"},
		{"one of another system", []byte("MZ this program cannot be run"), "bad magic number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "bin", "go"), tt.goTool, 0o755); err != nil {
				t.Fatal(err)
			}
			err := source{goroot: root}.usable()
			switch {
			case runtime.GOOS != "linux":
				if !errors.Is(err, ErrForeign) {
					t.Errorf("on %s: %v", runtime.GOOS, err)
				}
			case tt.foreign == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), tt.foreign) || !strings.Contains(err.Error(), "GO_IMAGE"):
				t.Errorf("error %v, want %s", err, tt.foreign)
			}
		})
	}
}

func TestDockersAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, answer, want string
	}{
		{"it worked", `{"status":"sha256:abc"}` + "\n", ""},
		{"nothing at all", "", ""},
		{"it failed on the way", `{"status":"reading"}{"errorDetail":{"message":"no space left"},"error":"no space left"}`, "no space left"},
		{"it is no JSON", "<html>", "docker's answer: invalid character '<' looking for beginning of value"},
		{"it was cut", `{"status":`, "docker's answer: unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := importError(strings.NewReader(tt.answer))
			if err == nil && tt.want != "" || err != nil && err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestAnImageThatIsNamedIsTaken(t *testing.T) {
	t.Setenv("GO_IMAGE", "site/go:1")
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1") // nobody needs Docker for this
	if tag, err := Ensure(t.Context(), t.Logf); tag != "site/go:1" || err != nil {
		t.Errorf("%q, %v", tag, err)
	}
}

func TestWithoutDockerTheErrorSaysSo(t *testing.T) {
	t.Setenv("GO_IMAGE", "")
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	if tag, err := Ensure(t.Context(), t.Logf); err == nil || !strings.HasPrefix(err.Error(), "docker: ") {
		t.Errorf("%q, %v", tag, err)
	}
}

func TestTheImageIsMadeOnce(t *testing.T) {
	t.Setenv("GO_IMAGE", "")
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	if _, err := docker.Ping(t.Context(), client.PingOptions{}); err != nil {
		if os.Getenv("UDPLAB_REQUIRE_DOCKER") == "1" {
			t.Fatalf("Docker is required: %v", err)
		}
		t.Skipf("no Docker: %v", err)
	}
	tag, err := Ensure(t.Context(), t.Logf)
	if errors.Is(err, ErrForeign) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := inspect(t.Context(), docker, tag); !found || err != nil {
		t.Errorf("%s is not there: %v", tag, err)
	}
	again, err := Ensure(t.Context(), func(format string, args ...any) {
		t.Errorf("made again: "+format, args...)
	})
	if again != tag || err != nil {
		t.Errorf("the second time: %q, %v", again, err)
	}
}
