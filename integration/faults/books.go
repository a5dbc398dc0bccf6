package faults

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Books is what all clients sent and got. Every datagram carries its client's
// identity and its own number, and every answer has to carry them back, once,
// to that client and from a server that there is. The methods of a Books may be
// called by several goroutines.
type Books struct {
	mu       sync.Mutex
	clients  int
	sent     int
	answered map[string]int // by server
	exists   map[string]bool
	problems problems
}

// NewBooks opens books in which answers of these servers are good.
func NewBooks(servers ...string) *Books {
	b := &Books{answered: map[string]int{}, exists: map[string]bool{}}
	for _, name := range servers {
		b.exists[name] = true
	}
	return b
}

// Exists says that there is a server of this name from now on.
func (b *Books) Exists(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.exists[name] = true
}

// Client is one client's part of the books. It belongs to one goroutine.
type Client struct {
	books    *Books
	identity int
	answered []bool // by number of the datagram, less 1
	open     int    // datagrams without an answer
}

// Client enters a new client, with an identity that no other has.
func (b *Books) Client() *Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients++
	return &Client{books: b, identity: b.clients}
}

// The text of a datagram is digits and capitals, which ping servers repeat as
// they are: CLIENT 7 DATAGRAM 42.
const text = "CLIENT %d DATAGRAM %d"

// Next is the client's next datagram, taken for sent.
func (c *Client) Next() []byte {
	c.answered = append(c.answered, false)
	c.open++
	c.books.mu.Lock()
	defer c.books.mu.Unlock()
	c.books.sent++
	return fmt.Appendf(nil, text, c.identity, len(c.answered))
}

// Open is how many of the client's datagrams have no answer yet.
func (c *Client) Open() int { return c.open }

// Answer enters an answer that has come to the client, and returns who gave
// it, or "" if something is wrong with it.
func (c *Client) Answer(payload []byte) (server string) {
	server, wrong := c.read(payload)
	c.books.mu.Lock()
	defer c.books.mu.Unlock()
	if wrong == "" && !c.books.exists[server] {
		wrong = fmt.Sprintf("there is no server %q", server)
	}
	if wrong != "" {
		c.books.problems.add("client %d got %q: %s", c.identity, payload, wrong)
		return ""
	}
	c.books.answered[server]++
	return server
}

// read checks that an answer is the client's, and the first.
func (c *Client) read(payload []byte) (server, wrong string) {
	end := bytes.LastIndexByte(payload, ' ')
	if end < 0 {
		return "", "no answer of a ping server"
	}
	var identity, number int
	if n, _ := fmt.Sscanf(string(payload[:end]), text, &identity, &number); n != 2 {
		return "", "no answer to any of our datagrams"
	}
	switch {
	case string(payload[:end]) != fmt.Sprintf(text, identity, number):
		return "", "changed on the way"
	case identity != c.identity:
		return "", "it is another client's"
	case number < 1 || number > len(c.answered):
		return "", "it was never asked"
	case c.answered[number-1]:
		return "", "it has been answered before"
	}
	c.answered[number-1] = true
	c.open--
	return string(payload[end+1:]), ""
}

// Problems is what was wrong, nil if nothing was.
func (b *Books) Problems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems.all()
}

func (b *Books) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var by []string
	for _, name := range slices.Sorted(maps.Keys(b.answered)) {
		by = append(by, name+" "+strconv.Itoa(b.answered[name]))
	}
	return fmt.Sprintf("%d clients sent %d datagrams; answered by %s", b.clients, b.sent, strings.Join(by, ", "))
}

// problems is what went wrong: the first few, and how many more.
type problems struct {
	first []string
	more  int
}

// mostProblems is how many are told one by one.
const mostProblems = 10

func (p *problems) add(format string, args ...any) {
	if len(p.first) == mostProblems {
		p.more++
		return
	}
	p.first = append(p.first, fmt.Sprintf(format, args...))
}

func (p *problems) all() []string {
	if p.more == 0 {
		return p.first
	}
	return append(slices.Clone(p.first), fmt.Sprintf("and %d more", p.more))
}
