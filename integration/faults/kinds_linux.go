package faults

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// kind is a way to break a lab and to mend it.
type kind struct {
	name        string
	part        string   // that it happens to; empty: servers
	servers     int      // how many of them
	needs       []string // besides those that it happens to: no two that need the same happen at the same time
	restarts    bool     // the balancer, which does not outlive it
	begin, mend []step
}

// What faults need besides parts of the lab. A balancer that starts while two
// names change places may take them for one address, and refuses.
const (
	resolver = "resolver"
	swapping = "swapping"
)

// restarts are the faults that end the balancer. It saves its turns every
// second, and the last one when it stops in order.
var restarts = []kind{
	{name: "killed", part: balancer, needs: []string{swapping}, restarts: true,
		begin: []step{(*run).noteTurns, (*run).awaitSaved, signal(syscall.SIGKILL)}, mend: []step{(*run).restart}},
	{name: "stopped", part: balancer, needs: []string{swapping}, restarts: true,
		begin: []step{(*run).noteTurns, signal(syscall.SIGTERM)}, mend: []step{(*run).restart}},
}

// others are all other faults. Where servers change places, the resolver learns
// it late.
var others = []kind{
	{name: "frozen", part: balancer, begin: []step{signal(syscall.SIGSTOP)}, mend: []step{signal(syscall.SIGCONT)}},
	{name: "silent", part: resolver, begin: []step{silence(true)}, mend: []step{silence(false)}},
	{name: "killed", servers: 1, begin: []step{signal(syscall.SIGKILL)}, mend: []step{start}},
	{name: "all killed", servers: len(servers), begin: []step{signal(syscall.SIGKILL)}, mend: []step{start}},
	{name: "frozen", servers: 1, begin: []step{signal(syscall.SIGSTOP)}, mend: []step{signal(syscall.SIGCONT)}},
	{name: "stopped and forgotten", servers: 1, begin: []step{signal(syscall.SIGTERM), (*run).forget}, mend: []step{start, (*run).tell}},
	{name: "moved", servers: 1, begin: []step{(*run).move, signal(syscall.SIGTERM), start}, mend: []step{(*run).tell}},
	{name: "swapped", servers: 2, needs: []string{swapping},
		begin: []step{(*run).swap, signal(syscall.SIGTERM), start}, mend: []step{(*run).tell}},
	{name: "replaced by a stranger", servers: 1, needs: []string{guest},
		begin: []step{(*run).move, signal(syscall.SIGTERM), (*run).startGuest}, mend: []step{start, (*run).tell, (*run).endGuest}},
}

// step is a part of what a fault does to the parts of the lab that it happens to.
type step func(r *run, ctx context.Context, parts []string) error

// each is a step that does something with all parts at the same time.
func each(do func(r *run, ctx context.Context, part string) error) step {
	return func(r *run, ctx context.Context, parts []string) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, part := range parts {
			group.Go(func() error { return do(r, ctx, part) })
		}
		return group.Wait()
	}
}

// start starts parts where they belong.
var start = each((*run).launch)

// signal sends a signal, and waits until the parts have ended if it ends them.
func signal(s syscall.Signal) step {
	return each(func(r *run, ctx context.Context, part string) error {
		_, err := r.signal(ctx, part, s)
		return err
	})
}

func silence(silent bool) step {
	return func(r *run, _ context.Context, _ []string) error { r.Names.Silence(silent); return nil }
}

// startGuest starts a stranger where a server has just been.
func (r *run) startGuest(ctx context.Context, servers []string) error {
	r.mu.Lock()
	r.at[guest] = r.spare[servers[0]]
	r.mu.Unlock()
	return r.launch(ctx, guest)
}

func (r *run) endGuest(ctx context.Context, _ []string) error {
	return signal(syscall.SIGTERM)(r, ctx, []string{guest})
}

// move lets a server start elsewhere next time. It already counts as there: what
// it answers from now on is nobody's to judge before the balancer knows.
func (r *run) move(_ context.Context, servers []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := servers[0]
	r.at[s], r.spare[s] = r.spare[s], r.at[s]
	return nil
}

// swap lets two servers start in each other's place next time, as move does.
func (r *run) swap(_ context.Context, servers []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, b := servers[0], servers[1]
	r.at[a], r.at[b] = r.at[b], r.at[a]
	return nil
}

// tell tells the resolver where these servers are, all at once.
func (r *run) tell(_ context.Context, servers []string) error {
	places := r.places()
	maps.DeleteFunc(places, func(server string, _ netip.Addr) bool { return !slices.Contains(servers, server) })
	r.Names.Set(places)
	return nil
}

// forget takes a server's name out of the resolver.
func (r *run) forget(_ context.Context, servers []string) error {
	r.Names.Set(map[string]netip.Addr{servers[0]: {}})
	return nil
}
