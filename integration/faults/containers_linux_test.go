package faults_test

import (
	"testing"

	"udplab/integration/faults"
	"udplab/integration/lab/containers"
)

func TestContainers(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	lab := containers.NewFaultLab(t, map[string]string{"BALANCER_WHEN_DOWN": string(faults.Skip)})
	faults.Run(t, lab, seed(), *length, faults.Skip)
}
