// Package baseimage finds or makes the image that the Dockerfile's build stage
// starts from.
//
// Usually that is golang:1.26-alpine, pulled from a registry. Where no registry
// can be reached, an image made of this machine's own Go tree is enough: the Go
// toolchain is static and brings its own linker, and the Dockerfile runs
// nothing else. Such an image holds the tree below /usr/local/go, the machine's
// CA certificates (modules are downloaded over TLS), and an empty /tmp and
// /root; no shell, no library.
package baseimage

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Usual is the image that the Dockerfile starts from unless it is told another.
const Usual = "golang:1.26-alpine"

// ErrForeign means that this machine's Go tree cannot run in a Linux container.
var ErrForeign = errors.New("this machine's Go cannot run in a Linux container; set GO_IMAGE to an image that has Go")

// inputsLabel holds a sum of all that went into an image of ours, so that a
// changed certificate or setting makes a new one.
const inputsLabel = "udplab.inputs"

// recipe is part of that sum; a change of what goes into the image raises it.
const recipe = "1"

// Ensure returns an image with Go that is on this machine's Docker, the first
// there is of: the one that GO_IMAGE names, which it does not check; Usual; one
// made earlier from this version of Go. If there is none it makes one. It never
// pulls: a machine with a registry needs no Ensure, since docker build pulls.
// What takes a while is told to log, a line a call.
//
// It returns ErrForeign if it would have to make an image and cannot because
// of this machine's kind.
func Ensure(ctx context.Context, log func(format string, args ...any)) (tag string, err error) {
	if image := os.Getenv("GO_IMAGE"); image != "" {
		return image, nil
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return "", fmt.Errorf("docker: %w", err)
	}
	defer docker.Close()
	if _, found, err := inspect(ctx, docker, Usual); found || err != nil {
		return Usual, err
	}

	here, err := machine(ctx)
	if err != nil {
		return "", err
	}
	tag = here.tag()
	inputs, found, err := inspect(ctx, docker, tag)
	if err != nil || found && inputs == here.inputs() {
		return tag, err
	}
	if err := here.usable(); err != nil {
		return "", err
	}
	log("making %s from %s: %s is not here", tag, here.goroot, Usual)
	begin := time.Now()
	if err := here.load(ctx, docker, tag); err != nil {
		return "", fmt.Errorf("making %s: %w", tag, err)
	}
	log("made %s in %v", tag, time.Since(begin).Round(100*time.Millisecond))
	return tag, nil
}

// inspect says whether Docker has the image, and what of ours went into it.
func inspect(ctx context.Context, docker *client.Client, tag string) (inputs string, found bool, err error) {
	image, err := docker.ImageInspect(ctx, tag)
	switch {
	case errdefs.IsNotFound(err):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("docker: %w", err)
	case image.Config == nil:
		return "", true, nil
	}
	return image.Config.Labels[inputsLabel], true, nil
}

// source is what an image is made of.
type source struct {
	goroot       string
	version      string // as Go says it: "go1.26.0"
	certificates []byte // PEM
	settings     []string
}

// carried are the settings of go env that say where modules come from. A build
// in the image needs the same as one on this machine.
var carried = []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE"}

// machine looks at the Go tree and the certificates of this machine.
func machine(ctx context.Context) (source, error) {
	goTool := exec.CommandContext(ctx, "go", append([]string{"env", "-json", "GOROOT", "GOVERSION"}, carried...)...)
	goTool.Stderr = os.Stderr
	out, err := goTool.Output()
	if err != nil {
		return source{}, fmt.Errorf("go env: %w", err)
	}
	var env map[string]string
	if err := json.Unmarshal(out, &env); err != nil {
		return source{}, fmt.Errorf("go env: %w", err)
	}
	here := source{goroot: env["GOROOT"], version: env["GOVERSION"]}
	for _, name := range carried {
		if value := env[name]; value != "" {
			here.settings = append(here.settings, name+"="+value)
		}
	}
	here.certificates, err = certificates(os.Getenv("SSL_CERT_FILE"))
	return here, err
}

// bundles are where Linux distributions keep their CA certificates in one file.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL without its old links
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/ssl/cert.pem",                                 // Alpine
}

// certificates reads the bundle that is given, or the first of the usual ones.
// A machine without any is not an error: where modules come from a directory
// or over plain HTTP, none are needed.
func certificates(given string) ([]byte, error) {
	if given != "" {
		return os.ReadFile(given)
	}
	for _, path := range bundles {
		pem, err := os.ReadFile(path)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return pem, err
		}
	}
	return nil, nil
}

// tag names the image after the version of Go.
func (s source) tag() string {
	allowed := func(r rune) rune {
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-", r) {
			return r
		}
		return '_'
	}
	version := strings.Map(allowed, strings.TrimPrefix(s.version, "go"))
	return "udplab-go:" + version[:min(len(version), 100)] // Docker allows 128
}

// inputs is a sum of all that goes into the image.
func (s source) inputs() string {
	sum := sha256.New()
	for _, part := range append([]string{recipe, s.version, string(s.certificates)}, s.settings...) {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// usable says whether the tree's programs run in a Linux container that holds
// nothing else: they are for Linux and need no library.
func (s source) usable() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("%w (it is for %s)", ErrForeign, runtime.GOOS)
	}
	tool := filepath.Join(s.goroot, "bin", "go")
	program, err := elf.Open(tool)
	if err != nil {
		return fmt.Errorf("%w (%s: %w)", ErrForeign, tool, err)
	}
	defer program.Close()
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%w (%s needs the system's C library)", ErrForeign, tool)
		}
	}
	return nil
}

// load streams the image into Docker.
func (s source) load(ctx context.Context, docker *client.Client, tag string) error {
	reader, writer := io.Pipe()
	defer reader.Close() // ends the goroutine if Docker does not read to the end
	go func() {
		writer.CloseWithError(writeImage(writer, os.DirFS(s.goroot), s.certificates))
	}()
	response, err := docker.ImageImport(ctx,
		client.ImageImportSource{Source: reader, SourceName: "-"}, tag,
		client.ImageImportOptions{Message: "Go " + s.version + " from the tree of the machine", Changes: s.changes()})
	if err != nil {
		return err
	}
	defer response.Close()
	return importError(response)
}

// changes are the lines of a Dockerfile that complete the image.
func (s source) changes() []string {
	changes := []string{
		"ENV PATH=/usr/local/go/bin",
		"ENV HOME=/root",
		"ENV GOPATH=/go",
		"ENV GOTOOLCHAIN=local",
		"WORKDIR /go",
		"LABEL " + inputsLabel + "=" + s.inputs(),
	}
	for _, setting := range s.settings {
		name, value, _ := strings.Cut(setting, "=")
		changes = append(changes, "ENV "+name+"="+strconv.Quote(value))
	}
	return changes
}

// importError reads Docker's answer, a stream of JSON objects that ends with an
// error if the import failed after it had begun.
func importError(answer io.Reader) error {
	for lines := json.NewDecoder(answer); ; {
		var line struct {
			Error string `json:"error"`
		}
		err := lines.Decode(&line)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("docker's answer: %w", err)
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}
