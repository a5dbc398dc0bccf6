package faults

import (
	"context"
	"maps"
	"net/netip"
	"path/filepath"
	"testing"

	"udplab/integration/lab"
	"udplab/services/kit/nettest"
)

// NewProcesses returns a lab of processes whose balancers have these variables
// too. It is for a test within nettest.Run: on that loopback interface every
// address of 127.0.0.0/8 and every port is free, so that a ping server can move
// as it could between machines.
func NewProcesses(t *testing.T, programs lab.Programs, env map[string]string) Lab {
	t.Helper()
	const resolver = "127.0.0.1"
	nettest.UseResolver(t, resolver)
	file := filepath.Join(t.TempDir(), "turns")
	all := map[string]string{"BALANCER_STATE_FILE": file, "GODEBUG": "netdns=go"} // the C library would ask others too
	maps.Copy(all, env)
	return Lab{
		Balancer: netip.MustParseAddr("127.0.0.10"), Places: Places(netip.MustParseAddr("127.0.0.11")),
		Names: ServeNames(t, resolver+":53"), StateFile: file, Env: all,
		Launch: func(ctx context.Context, program, part string, _ netip.Addr, env map[string]string) (Part, error) {
			return programs.Launch(ctx, program, part, env)
		},
	}
}
