// Package containers starts stacks in containers, from the repository's own
// Dockerfile, with testcontainers and the docker command. It is for tests, and
// removes what it made when they end.
package containers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// Need skips the test in short mode, and if Docker does not answer.
func Need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("containers take more than a short test has")
	}
	if _, err := Docker(labtest.Within(t), "version"); err != nil {
		Missing(t, fmt.Sprintf("Docker cannot be reached: %v", err))
	}
	configure()
}

// configure turns off Ryuk, a container that removes what a killed test left, where
// its image is not here yet: pulling it would make every test depend on a registry.
// The tests clean up by themselves.
var configure = sync.OnceFunc(func() {
	const disabled = "TESTCONTAINERS_RYUK_DISABLED"
	if _, set := os.LookupEnv(disabled); !set {
		//lint:ignore SA1019 nothing else says which image it would be
		if _, err := Docker(context.Background(), "image", "inspect", testcontainers.ReaperDefaultImage); err != nil {
			os.Setenv(disabled, "true")
		}
	}
	log.SetDefault(log.NewNoopLogger()) // what goes wrong is in the errors
})

// Missing skips the test for want of something, or fails it where
// UDPLAB_REQUIRE_DOCKER is 1.
func Missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("UDPLAB_REQUIRE_DOCKER") == "1" {
		t.Fatal("UDPLAB_REQUIRE_DOCKER=1, but " + why)
	}
	t.Skip(why)
}

// Docker runs a docker command and returns its stdout without the line's end.
// Its error has what the command wrote to stderr.
func Docker(ctx context.Context, args ...string) (string, error) {
	exit, err := docker(ctx, args...)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("docker %s: exit %d\n%s%s", strings.Join(args, " "), exit.Code, exit.Stdout, exit.Stderr)
	}
	return strings.TrimSpace(exit.Stdout), err
}

// docker runs a docker command to its end.
func docker(ctx context.Context, args ...string) (lab.Exit, error) {
	return lab.Run(ctx, exec.CommandContext(ctx, "docker", args...))
}

// try runs a docker command that the test cannot do without.
func try(t *testing.T, args ...string) string {
	t.Helper()
	said, err := Docker(context.WithoutCancel(t.Context()), args...) // it may clean up
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// GoImage is GO_IMAGE for the Dockerfile and the compose file: what the variable
// says, else the Dockerfile's own if it is here, else what integration/goimage
// makes of this machine's Go. No registry is asked.
func GoImage(t *testing.T) string {
	t.Helper()
	if image := os.Getenv("GO_IMAGE"); image != "" {
		return image
	}
	const usual = "golang:1.26-alpine"
	if _, err := Docker(t.Context(), "image", "inspect", usual); err == nil {
		return usual
	}
	exit, err := lab.Run(t.Context(), exec.CommandContext(t.Context(), filepath.Join(root(t), "integration", "goimage")))
	if err != nil || exit.Code != 0 {
		t.Fatalf("goimage: %v\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(exit.Stdout)
}

func root(t *testing.T) string {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// Subnet is a /24 for a network of the test's that no network of Docker has, and
// no other test gets. It is of a range for tests of networks, which no machine
// is in (RFC 2544).
func Subnet(t *testing.T) netip.Prefix {
	t.Helper()
	networks := strings.Fields(try(t, "network", "ls", "--quiet"))
	const subnets = "{{range .IPAM.Config}}{{println .Subnet}}{{end}}"
	// A network may be removed while this looks; the others are printed all the same.
	exit, err := docker(labtest.Within(t), slices.Concat([]string{"network", "inspect", "--format", subnets}, networks)...)
	if err != nil {
		t.Fatal(err)
	}
	var taken []netip.Prefix
	for _, text := range strings.Fields(exit.Stdout) {
		if subnet, err := netip.ParsePrefix(text); err == nil {
			taken = append(taken, subnet)
		}
	}
	for _, n := range rand.Perm(512) {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(n/256), byte(n), 0}), 24)
		if !slices.ContainsFunc(taken, subnet.Overlaps) && lab.Reserve("subnet "+subnet.String()) {
			return subnet
		}
	}
	t.Fatal("every subnet of 198.18.0.0/15 is taken: docker network prune")
	return netip.Prefix{}
}
