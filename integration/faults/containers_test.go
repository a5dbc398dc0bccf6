package faults_test

import (
	"testing"

	"udplab/integration/containers"
	"udplab/integration/faults"
)

func TestContainers(t *testing.T) {
	t.Parallel()
	faults.Play(t, containers.NewFaultLab(t), seed(), *length, faults.Skip)
}
