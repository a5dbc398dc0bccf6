//go:build !linux

package main

// openBatched is nil: only Linux has such system calls.
var openBatched batchOpener
