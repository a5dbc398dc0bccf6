package faults

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is a resolver for a handful of names, which can be told to say nothing.
// Its methods may be called by several goroutines.
type Names struct {
	conn net.PacketConn

	mu     sync.Mutex
	addrs  map[string]netip.Addr // by name, in lower case with the dot at its end
	silent bool
}

// ServeNames answers at an address such as "127.0.0.1:53" until the test ends.
func ServeNames(t *testing.T, address string) *Names {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	n := &Names{conn: conn, addrs: map[string]netip.Addr{}}
	var served sync.WaitGroup
	served.Go(n.serve)
	t.Cleanup(func() {
		conn.Close()
		served.Wait()
	})
	return n
}

// Set says where the servers of these names are, all at once; an address that
// is not valid takes a name away. The other names stay as they are.
func (n *Names) Set(places map[string]netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, addr := range places {
		n.addrs[name+domain+"."] = addr
	}
}

// Silence makes the resolver answer nothing, or speak again.
func (n *Names) Silence(silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = silent
}

// serve answers until the connection is closed.
func (n *Names) serve() {
	buf := make([]byte, 1<<16)
	for {
		length, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := n.answer(buf[:length]); answer != nil {
			_, _ = n.conn.WriteTo(answer, from) // who asked may have gone
		}
	}
}

// answer answers a query (RFC 1035): an address of IPv4, nothing of other
// kinds, or that there is no such name. It returns nil for what is no query, and
// while the resolver is silent.
func (n *Names) answer(query []byte) []byte {
	var asked dnsmessage.Message
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := asked.Unpack(query); err != nil || len(asked.Questions) == 0 || n.silent {
		return nil
	}
	question := asked.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, RecursionDesired: asked.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	addr := n.addrs[strings.ToLower(question.Name.String())]
	switch {
	case !addr.IsValid():
		answer.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	packed, _ := answer.Pack() // fails for names that cannot be unpacked either
	return packed
}
