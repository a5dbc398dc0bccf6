package lab

import (
	"errors"
	"io"
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
		port := strconv.Itoa(first + rand.IntN(last-first+1))
		if Free(network, "127.0.0.1:"+port) && Reserve(network+" port "+port) {
			return port, nil
		}
	}
	return "", errors.New("no free " + network + " port")
}

// Free says whether a program could listen at the address now.
func Free(network, addr string) bool {
	var probe io.Closer
	var err error
	if network == "udp" {
		probe, err = net.ListenPacket(network, addr)
	} else {
		probe, err = net.Listen(network, addr)
	}
	if err == nil {
		probe.Close()
	}
	return err == nil
}

// reserved keeps what Reserve has been asked for, and open what holds it.
var reserved sync.Map

// Reserve takes a name until this process ends, and returns false if a process
// of this machine has it. Only Linux tells the names of other processes: there,
// a socket with an abstract address (unix(7)) goes with its process.
func Reserve(name string) bool {
	if _, asked := reserved.LoadOrStore(name, nil); asked {
		return false
	}
	if runtime.GOOS != "linux" {
		return true
	}
	listener, err := net.Listen("unix", "@udplab "+name)
	reserved.Store(name, listener)
	return err == nil
}
