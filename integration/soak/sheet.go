package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"udplab/integration/lab"
	"udplab/integration/traffic"
)

// figures are numbers of datagrams, by what they are.
type figures map[string]uint64

// checks are the lines of the balance sheet: sums of figures that have to be
// equal, and figures that have to be 0. Those about one server have %s for it.
var (
	checks = []string{
		"sent + sent by strangers = received + dropped before the balancer", // a stranger's came to a session's socket
		"forwarded = forwarded to server1 + forwarded to server2 + forwarded to server3",
		"turns = turns of server1 + turns of server2 + turns of server3",
		"answered by server1 + answered by server2 + answered by server3 = replied + dropped before the sessions",
		"replied = in time + late + dropped before the clients",
		"sent = in time + lost", // late ones are lost as well
		"turns out of order",
		"turns out of place",
		"turns dealt unfairly",
		"replies to another client",
		"replies to nothing",
		"answered twice",
	}
	serverChecks = []string{
		"forwarded to %s = received by %[1]s + dropped before %[1]s",
		"received by %s = answered by %[1]s + lost by %[1]s + failed at %[1]s + dropped by %[1]s",
	}
)

// reason begins the names of what the balancer dropped.
const reason = "dropped as "

// sheet prints all checks with their numbers, and says whether all hold.
func (f figures) sheet(w io.Writer) (good bool) {
	received := "received = forwarded"
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if strings.HasPrefix(name, reason) {
			received += " + " + name
		}
	}
	all := append([]string{received}, checks...)
	for _, server := range servers {
		for _, check := range serverChecks {
			all = append(all, fmt.Sprintf(check, server))
		}
	}
	good = true
	for _, check := range all {
		left, right, _ := strings.Cut(check, " = ")
		text, sum := f.sum(left)
		other, want := f.sum(right)
		fmt.Fprintln(w, mark(sum == want), strings.TrimSuffix(text+" = "+other, " = "))
		good = good && sum == want
	}
	return good
}

// sum adds figures up, and writes each with its number. Of "" the sum is 0.
func (f figures) sum(names string) (text string, sum uint64) {
	var terms []string
	for name := range strings.SplitSeq(names, " + ") {
		if name != "" {
			terms = append(terms, name+" "+thousands(f[name]))
			sum += f[name]
		}
	}
	return strings.Join(terms, " + "), sum
}

// thousands writes a number with commas.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// mark stands before a line of the verdict.
func mark(good bool) string {
	if good {
		return "  ok "
	}
	return "WRONG"
}

// collect asks every program what it counted, once the balancer has everything
// that the clients sent and got. It stops the servers, which say it at their end.
func collect(ctx context.Context, stack *lab.Stack, c traffic.Counts) (figures, error) {
	b, listenerDrops, err := settled(ctx, stack.URL(), c)
	if err != nil {
		return nil, err
	}
	f := figures{
		"sent": c.Sent, "in time": c.InTime, "late": c.Late, "lost": c.Lost,
		"answered twice": c.Duplicate, "replies to another client": c.Misrouted, "replies to nothing": c.Unmatched,
		"dropped before the balancer": listenerDrops,
	}
	f.count(b)
	if f["dropped before the sessions"], err = kernelDrops(stack.Part("balancer").PID(), stack.Addr(), false); err != nil {
		return nil, err
	}
	for _, name := range servers {
		server := stack.Part(name)
		drops, err1 := kernelDrops(server.PID(), netip.MustParseAddrPort(server.Addr), true)
		f["dropped before "+name] = drops
		err2 := f.stopped(name, server.Stop(ctx).Stdout)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return f, nil
}

// settled reads the balancer's counters, and what the kernel dropped at its
// listener, once they have everything: a reply may be with its client before it
// is counted. If they never do, the sheet shows what is missing.
func settled(ctx context.Context, url string, c traffic.Counts) (b lab.Status, drops uint64, err error) {
	waiting, cancel := context.WithTimeout(ctx, lab.Patience/2)
	defer cancel()
	read := func(ctx context.Context) error {
		status, err1 := lab.ReadStatus(ctx, url)
		dropped, err2 := lab.ReadMetric(ctx, url, "balancer_kernel_drops_total")
		b, drops = status, uint64(dropped)
		return errors.Join(err1, err2)
	}
	_ = lab.Until(waiting, func(ctx context.Context) error {
		if err := read(ctx); err != nil || b.Replied < c.Replies() || b.Received+drops < c.Sent {
			return errors.Join(err, errors.New("not everything is counted"))
		}
		return nil
	})
	return b, drops, read(ctx)
}

// count takes over what the balancer counted. Of t turns the first t mod n of n
// servers have one more than the others; all else is unfair.
func (f figures) count(b lab.Status) {
	f["received"], f["forwarded"], f["replied"] = b.Received, b.Forwarded, b.Replied
	f["turns"], f["turns out of order"], f["sent by strangers"] = b.Turns, b.OrderViolations, b.Dropped["stranger"]
	for why, n := range b.Dropped {
		if n > 0 {
			f[reason+why] = n
		}
	}
	n := uint64(len(b.Backends))
	for i, s := range b.Backends {
		f["forwarded to "+s.Name], f["turns of "+s.Name] = s.Forwarded, s.Turns
		want := (b.Turns + n - 1 - uint64(i)) / n
		f["turns dealt unfairly"] += max(want, s.Turns) - min(want, s.Turns)
	}
}

// stopped takes over what a ping server counted, from the last line of its log.
func (f figures) stopped(name, log string) error {
	var line struct {
		Event                                     string
		Received, Answered, Lost, Failed, Dropped uint64
	}
	log = strings.TrimSpace(log)
	last := log[strings.LastIndexByte(log, '\n')+1:]
	if err := json.Unmarshal([]byte(last), &line); err != nil || line.Event != "stopped" {
		return fmt.Errorf("its log ends with %q, want its count (%v)", last, err)
	}
	f["received by "+name], f["answered by "+name], f["lost by "+name] = line.Received, line.Answered, line.Lost
	f["failed at "+name], f["dropped by "+name] = line.Failed, line.Dropped
	return nil
}

// kernelDrops is how many datagrams the kernel dropped at a process's UDP
// sockets: at the one that listens on addr, or at all others. Where there is
// no /proc it is 0.
func kernelDrops(pid int, addr netip.AddrPort, listener bool) (sum uint64, err error) {
	sockets, err := lab.UDPSockets(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, s := range sockets {
		if listener == (s.Port == int(addr.Port())) {
			sum += s.Drops
		}
	}
	return sum, err
}
