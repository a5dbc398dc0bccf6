//go:build !linux

package transport

// Batched is Plain: only Linux has system calls for many datagrams.
var Batched = Plain(Dial)
