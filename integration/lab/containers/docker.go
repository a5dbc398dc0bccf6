// Package containers starts stacks in containers, from the repository's own
// Dockerfile. It is for tests, and removes what it made when they end.
package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// Need returns a client of Docker that ends with the test. In short mode, and if
// Docker does not answer, it skips the test.
func Need(t *testing.T) *client.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("containers take more than a short test has")
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		Missing(t, fmt.Sprintf("Docker cannot be reached: %v", err))
	}
	t.Cleanup(func() { docker.Close() })
	if _, err := docker.Ping(labtest.Within(t), client.PingOptions{}); err != nil {
		Missing(t, fmt.Sprintf("Docker cannot be reached: %v", err))
	}
	configure.Do(func() { configureTestcontainers(t.Context(), docker) })
	return docker
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

var configure sync.Once

// configureTestcontainers turns off Ryuk, a container that removes what a killed
// test left, where its image is not here yet: pulling it would make every test
// depend on a registry. The tests clean up by themselves.
func configureTestcontainers(ctx context.Context, docker *client.Client) {
	const disabled = "TESTCONTAINERS_RYUK_DISABLED"
	if _, set := os.LookupEnv(disabled); !set {
		//lint:ignore SA1019 nothing else says which image it would be
		if _, err := docker.ImageInspect(ctx, testcontainers.ReaperDefaultImage); err != nil {
			os.Setenv(disabled, "true")
		}
	}
	tclog.SetDefault(tclog.NewNoopLogger()) // what goes wrong is in the errors
}

// GoImage is GO_IMAGE for the Dockerfile and the compose file: what the variable
// says, else the Dockerfile's own if it is here, else what integration/goimage
// makes of this machine's Go. No registry is asked.
func GoImage(t *testing.T, docker *client.Client) string {
	t.Helper()
	if image := os.Getenv("GO_IMAGE"); image != "" {
		return image
	}
	const usual = "golang:1.26-alpine"
	if _, err := docker.ImageInspect(t.Context(), usual); err == nil {
		return usual
	}
	script := exec.CommandContext(t.Context(), filepath.Join(root(t), "integration", "goimage"))
	var stderr bytes.Buffer
	script.Stderr = &stderr
	image, err := script.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return strings.TrimSpace(string(image))
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
func Subnet(t *testing.T, docker *client.Client) netip.Prefix {
	t.Helper()
	networks, err := docker.NetworkList(labtest.Within(t), client.NetworkListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	taken := func(subnet netip.Prefix) bool {
		for _, network := range networks.Items {
			for _, config := range network.IPAM.Config {
				if config.Subnet.Overlaps(subnet) {
					return true
				}
			}
		}
		return false
	}
	for _, n := range rand.Perm(512) {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(n/256), byte(n), 0}), 24)
		if !taken(subnet) && lab.Reserve("subnet "+subnet.String()) {
			return subnet
		}
	}
	t.Fatal(errors.New("every subnet of 198.18.0.0/15 is taken: docker network prune"))
	return netip.Prefix{}
}
