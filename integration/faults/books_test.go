package faults

import (
	"slices"
	"strings"
	"testing"
)

func TestTheBooksFindWhatIsWrongWithAnAnswer(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string // that come to client 2, which has sent two datagrams
		want    string   // the beginning of what is wrong; empty: nothing is
	}{
		{"an answer", []string{"CLIENT 2 DATAGRAM 1 server1"}, ""},
		{"both answers, the later first", []string{"CLIENT 2 DATAGRAM 2 server1", "CLIENT 2 DATAGRAM 1 server3"}, ""},
		{"an answer of a server that came later", []string{"CLIENT 2 DATAGRAM 2 guest"}, ""},
		{"another client's", []string{"CLIENT 1 DATAGRAM 1 server1"}, "it is another client's"},
		{"a client's that does not exist", []string{"CLIENT 9 DATAGRAM 1 server1"}, "it is another client's"},
		{"one too many", []string{"CLIENT 2 DATAGRAM 1 server1", "CLIENT 2 DATAGRAM 1 server1"}, "it has been answered before"},
		{"another server's, too", []string{"CLIENT 2 DATAGRAM 1 server1", "CLIENT 2 DATAGRAM 1 server2"}, "it has been answered before"},
		{"to what was not sent yet", []string{"CLIENT 2 DATAGRAM 3 server1"}, "it was never asked"},
		{"to number 0", []string{"CLIENT 2 DATAGRAM 0 server1"}, "it was never asked"},
		{"of a server that there is not", []string{"CLIENT 2 DATAGRAM 1 server4"}, `there is no server "server4"`},
		{"without a server", []string{"CLIENT 2 DATAGRAM 1"}, "no answer to any of our datagrams"},
		{"with bytes too many", []string{"CLIENT 2 DATAGRAM 1 AND MORE server1"}, "changed on the way"},
		{"with bytes too few", []string{"CLIENT 2 DATAGRA server1"}, "no answer to any of our datagrams"},
		{"of somebody else", []string{"hello"}, "no answer of a ping server"},
		{"of nobody", []string{""}, "no answer of a ping server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBooks(servers...)
			b.Client().Next()
			client := b.Client()
			client.Next()
			client.Next()
			b.Exists("guest")
			for _, a := range c.answers {
				client.Answer([]byte(a))
			}
			got := b.Problems()
			switch {
			case c.want == "" && (got != nil || client.Open() != 2-len(c.answers)):
				t.Errorf("%q, %d open; want nothing wrong and %d open", got, client.Open(), 2-len(c.answers))
			case c.want != "" && (len(got) != 1 || !strings.HasSuffix(got[0], c.want)):
				t.Errorf("%q, want one problem that ends with %q", got, c.want)
			}
		})
	}
}

func TestTheBooksSayWhoAnswered(t *testing.T) {
	b := NewBooks(servers...)
	client := b.Client()
	client.Next()
	client.Next()
	if got := client.Answer([]byte("CLIENT 1 DATAGRAM 2 server3")); got != "server3" {
		t.Errorf("answered by %q, want server3", got)
	}
	if got := client.Answer([]byte("CLIENT 1 DATAGRAM 2 server3")); got != "" {
		t.Errorf("answered by %q, want nobody the second time", got)
	}
	if got, want := b.String(), "1 clients sent 2 datagrams; answered by server3 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOnlyTheFirstProblemsAreTold(t *testing.T) {
	var p problems
	if p.all() != nil {
		t.Error("problems before any")
	}
	for i := range mostProblems + 5 {
		p.add("problem %d", i)
	}
	if all := p.all(); len(all) != mostProblems+1 || all[0] != "problem 0" || all[mostProblems] != "and 5 more" || slices.Contains(all, "problem 10") {
		t.Errorf("told: %q", all)
	}
}
