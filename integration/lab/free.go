package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
)

// FreePort returns a port of 127.0.0.1 for network "udp" or "tcp" that is free
// now. No other caller of FreePort on this machine gets it, and it is not one
// that a system gives to a socket with port 0. A program that can listen on
// port 0 needs no FreePort.
func FreePort(network string) (string, error) {
	const first, last, tries = 20_000, 32_767, 1000 // below the ports that systems give
	for range tries {
		port := first + rand.IntN(last-first+1)
		if bindable(network, port) && Reserve(fmt.Sprintf("%s port %d", network, port)) {
			return strconv.Itoa(port), nil
		}
	}
	return "", errors.New("no free " + network + " port")
}

func bindable(network string, port int) bool {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if network == "udp" {
		conn, err := net.ListenPacket(network, addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	listener, err := net.Listen(network, addr)
	if err == nil {
		listener.Close()
	}
	return err == nil
}

// reserved keeps the names that this process has taken.
var reserved struct {
	sync.Mutex
	names map[string]net.Listener
}

// Reserve takes a name until this process ends, and returns false if a process
// of this machine has it. Only Linux tells the names of other processes.
func Reserve(name string) bool {
	reserved.Lock()
	defer reserved.Unlock()
	if _, taken := reserved.names[name]; taken {
		return false
	}
	var listener net.Listener
	if runtime.GOOS == "linux" {
		var err error
		// A socket with an abstract address (unix(7)) goes with its process.
		if listener, err = net.Listen("unix", "@udplab "+name); err != nil {
			return false
		}
	}
	if reserved.names == nil {
		reserved.names = map[string]net.Listener{}
	}
	reserved.names[name] = listener
	return true
}
