//go:build !linux

package integration

import (
	"os/exec"
	"testing"
)

func startInOwnNetwork(t *testing.T) (start func(*exec.Cmd) error) {
	t.Helper()
	t.Skip("the documents' ports may be taken here, and only Linux can promise a network in which they are free")
	return nil
}

func inGroup(*exec.Cmd) {}

func interruptGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
