// Package containers starts labs in containers, from the repository's own
// Dockerfile. It is for tests, and removes whatever it made when they end.
package containers

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"

	"udplab/integration/baseimage"
)

// Need skips the test if Docker cannot be reached, and says why. Where
// UDPLAB_REQUIRE_DOCKER is 1 it fails instead. It returns a client of Docker,
// which ends with the test.
func Need(t *testing.T) *client.Client {
	t.Helper()
	docker, err := reach(t.Context())
	if err != nil {
		skip(t, fmt.Sprintf("Docker cannot be reached: %v", err))
	}
	t.Cleanup(func() { docker.Close() })
	settings.Do(func() { settle(t.Context(), docker) })
	return docker
}

// skip skips the test, or fails it where Docker is required.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("UDPLAB_REQUIRE_DOCKER") == "1" {
		t.Fatal("UDPLAB_REQUIRE_DOCKER=1, but " + why)
	}
	t.Skip(why)
}

func reach(ctx context.Context) (*client.Client, error) {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		docker.Close()
		return nil, err
	}
	return docker, nil
}

// settings of testcontainers are made once, before its first use.
var settings sync.Once

// settle does without Ryuk, a container that removes what a test process left
// when it was killed, where its image is not here yet: pulling it would make
// every test depend on a registry. The tests clean up by themselves.
func settle(ctx context.Context, docker *client.Client) {
	const disabled = "TESTCONTAINERS_RYUK_DISABLED"
	if _, set := os.LookupEnv(disabled); !set {
		//lint:ignore SA1019 nothing else says which image it would be
		if _, err := docker.ImageInspect(ctx, testcontainers.ReaperDefaultImage); err != nil {
			os.Setenv(disabled, "true")
		}
	}
	tclog.SetDefault(tclog.NewNoopLogger()) // what goes wrong is in the errors
}

// GoImage is the image to build from: GO_IMAGE for the Dockerfile and for the
// compose file. It fails the test if there is none and none can be made.
func GoImage(t *testing.T) string {
	t.Helper()
	image, err := baseimage.Ensure(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return image
}
