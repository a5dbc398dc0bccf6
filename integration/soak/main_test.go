package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/services/kit/program"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

func TestAShortSoakBalances(t *testing.T) {
	stack := labtest.Start(t, lab.Config{Balancer: balancer})
	var stdout, stderr bytes.Buffer
	cfg := settings{Datagrams: 20_000, Clients: 5, Window: 16, Seed: 11}
	if err := soak(t.Context(), cfg, stack, &stdout, &stderr); err != nil {
		t.Fatalf("exit %d: %v\n%s%s", program.ExitCode(err), err, &stdout, &stderr)
	}
	for _, want := range []string{
		"  ok  sent by the clients 20,000 + by strangers 0 = ",
		"turns 20,000 = server1 6,667 + server2 6,667 + server3 6,666\n",
		"turns out of order by the balancer's own check 0: none wanted\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
	if regexp.MustCompile(`(?m)^WRONG|of 0 that were looked at`).MatchString(stdout.String()) || strings.Count(stdout.String(), "  ok  ") != 18 {
		t.Errorf("want 18 lines that hold\n%s", &stdout)
	}
}

func TestAnEarlyEndBalancesToo(t *testing.T) {
	stack := labtest.Start(t, lab.Config{Balancer: balancer})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var stdout bytes.Buffer
	err := soak(ctx, settings{Datagrams: 1e9, Clients: 8, Window: 32, Seed: 1}, stack, &stdout, io.Discard)
	if program.ExitCode(err) != 1 || err.Error() != "" {
		t.Fatalf("exit %d, %v, want 1 and no word\n%s", program.ExitCode(err), err, &stdout)
	}
	if text := stdout.String(); strings.Contains(text, "WRONG") || !strings.Contains(text, " of 1,000,000,000 in ") || !strings.Contains(text, "  ok  sent by the clients ") {
		t.Errorf("want a sheet whose lines hold\n%s", text)
	}
}

func TestWrongFlagsAreNamedAndNothingStarts(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--fast"}, `flag="--fast": want `},
		{[]string{"--datagrams", "0"}, `--datagrams="0": want a whole number from 1 to `},
		{[]string{"--clients", "30", "--window", "31"}, `--window="31": want at most 900 datagrams in flight, so at most 30 with --clients 30`},
		{[]string{"7"}, `argument="7": want `},
	} {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), c.args, &stdout, &stderr)
		if program.ExitCode(err) != 2 || stdout.Len() > 0 || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: exit %d, %q, stdout %q; want 2 and one line %s…", c.args, program.ExitCode(err), err, &stdout, c.want)
		}
	}
}
