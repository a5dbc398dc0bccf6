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
	"strings"
	"testing"

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
}

func init() {
	// Ryuk, a container that removes what a killed test left, would be pulled from
	// a registry. The tests clean up by themselves.
	const disabled = "TESTCONTAINERS_RYUK_DISABLED"
	if _, set := os.LookupEnv(disabled); !set {
		os.Setenv(disabled, "true")
	}
	log.SetDefault(log.NewNoopLogger()) // what goes wrong is in the errors
}

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
	var err error
	for _, n := range rand.Perm(512) {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(n/256), byte(n), 0}), 24)
		if !lab.Reserve("subnet " + subnet.String()) {
			continue
		}
		var network string // which Docker refuses where another overlaps
		if network, err = Docker(labtest.Within(t), "network", "create", "--subnet="+subnet.String(), newName()); err == nil {
			try(t, "network", "rm", network)
			return subnet
		}
	}
	t.Fatalf("every subnet of 198.18.0.0/15 is taken: docker network prune (%v)", err)
	return netip.Prefix{}
}
