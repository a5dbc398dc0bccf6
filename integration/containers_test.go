package integration

import (
	"testing"

	"udplab/integration/lab/containers"
	"udplab/integration/scenario"
)

func TestContainers(t *testing.T) {
	scenario.Run(t, containers.New(t))
}
