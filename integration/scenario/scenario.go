// Package scenario is what any running lab must do, however it was started: as
// processes, in containers, or in some way still to come. A way to start it is
// a Boot; Run puts it through every scenario.
//
// The lab of a scenario is three ping servers called server1 to server3 and a
// balancer in front of them that has had no turn yet. A scenario sees of it what
// any user could: datagrams, the balancer's /api/status, what the programs print
// and their exit codes.
package scenario

import (
	"context"
	"net/netip"
	"testing"

	"udplab/integration/lab"
)

// Boot starts labs in one way. Its methods fail the test they are given if
// they cannot.
type Boot interface {
	// Start starts a lab, which ends with the test.
	Start(t *testing.T, options Options) Stack
	// Run runs one program by itself: "balancer", "pingserver" or "client".
	Run(t *testing.T, program string, env map[string]string, args ...string) lab.Exit
}

// Options are variables of the lab's programs beyond those it needs anyway.
type Options struct{ Server, Balancer map[string]string }

// Stack is a lab that runs.
type Stack interface {
	// Addr is where clients on this machine reach the balancer.
	Addr() netip.AddrPort
	// URL is where this machine reaches the balancer's page.
	URL() string
	// Client runs a client with these arguments; its target is the balancer
	// unless they say another. It may be called by several goroutines.
	Client(ctx context.Context, args ...string) (lab.Exit, error)
	// SelfCheck runs the self-check of "balancer" or a server's name.
	SelfCheck(ctx context.Context, service string) (lab.Exit, error)
	// KillServer ends a server without a chance to say anything, and
	// StartServer brings it back.
	KillServer(ctx context.Context, name string) error
	StartServer(ctx context.Context, name string) error
	// Stop tells the balancer to end and waits until it has.
	Stop(ctx context.Context) (lab.Exit, error)
}

// Run puts a way to start labs through every scenario.
func Run(t *testing.T, boot Boot) {
	for _, s := range []struct {
		name string
		play func(*testing.T, Boot)
	}{
		{"the order goes on from one client run to the next", orderGoesOn},
		{"two clients at once share the turns evenly", twoClientsAtOnce},
		{"a client of another make gets its ten answers", foreignClient},
		{"a killed server is skipped and comes back in turn", killedServer},
		{"the same seed loses the same answers", seededLoss},
		{"datagrams of every size pass whole", everySize},
		{"garbage stops nothing", garbage},
		{"self-checks tell the living from the dead", selfChecks},
		{"a stop leaves nothing unsaid", cleanStop},
		{"a wrong configuration is named and nothing starts", wrongConfiguration},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.play(t, boot)
		})
	}
}
