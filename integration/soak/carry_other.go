//go:build !linux

package main

import "context"

// carry lets every client send what its book has and enters what comes back,
// until all are done or ctx ends, when what is under way is still waited for.
// It returns how many answers the kernel dropped at the clients' sockets.
func carry(ctx context.Context, books []*book, target string) (drops uint64, err error) {
	return carryPortably(ctx, books, target)
}
