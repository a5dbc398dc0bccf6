//go:build !linux

package traffic

import (
	"context"
	"net/netip"
)

// Carry sends what the books have to one address and records what comes back,
// until all are done. When ctx ends nothing more is sent, and what is in flight
// is still waited for. It returns how many replies the kernel dropped at the
// clients' sockets.
func Carry(ctx context.Context, books []*Book, target netip.AddrPort) (drops uint64, err error) {
	return carryPortably(ctx, books, target)
}
