package faults_test

import (
	"testing"

	"udplab/integration/faults"
	"udplab/integration/lab/containers"
)

func TestContainers(t *testing.T) {
	t.Parallel()
	faults.Play(t, containers.NewFaultLab(t), seed(), *length, faults.Skip)
}
