//go:build !linux

package integration

import (
	"os/exec"
	"testing"
)

// network is for documents whose ports are free, which only Linux can promise.
type network struct{}

func newNetwork(t *testing.T) *network {
	t.Helper()
	t.Skip("the documents' ports may be taken here")
	return nil
}

func (*network) start(cmd *exec.Cmd) error { return cmd.Start() }

func (*network) end() {}

func inGroup(*exec.Cmd) {}

func interruptGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
