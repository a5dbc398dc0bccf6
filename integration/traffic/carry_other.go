//go:build !linux

package traffic

var carry = carryPortably
