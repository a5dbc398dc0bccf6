//go:build !linux

package udp

import "errors"

func forceReceiveBuffer(uintptr, int) error { return errors.ErrUnsupported }

func drops(uintptr) (uint32, error) { return 0, errors.ErrUnsupported }
