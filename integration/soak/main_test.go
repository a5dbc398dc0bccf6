package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"udplab/services/kit/program"
)

// patience of a test with a whole run, its build included.
const runTime = 3 * time.Minute

func TestAShortSoakBalances(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	err := run(ctx, []string{"--datagrams", "20000", "--clients", "5", "--window", "16", "--seed", "11"}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("exit %d: %v\n%s%s", program.ExitCode(err), err, &stdout, &stderr)
	}
	for _, want := range []string{
		"20,000 datagrams by 5 clients, each with 16 under way, seed 11\n",
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
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	stop, end := context.WithCancel(ctx)
	defer end()
	var stdout bytes.Buffer
	err := run(stop, []string{"--datagrams", "1000000000"}, &stdout, endAfterALine(end))
	if program.ExitCode(err) != 1 || err.Error() != "" {
		t.Fatalf("exit %d, %v, want 1 and no word\n%s", program.ExitCode(err), err, &stdout)
	}
	if text := stdout.String(); strings.Contains(text, "WRONG") || !strings.Contains(text, " of 1,000,000,000 in ") || !strings.Contains(text, "  ok  sent by the clients ") {
		t.Errorf("want a sheet whose lines hold\n%s", text)
	}
}

// endAfterALine is told the progress and ends the run at the first line.
type endAfterALine func()

func (end endAfterALine) Write(p []byte) (int, error) {
	end()
	return len(p), nil
}

func TestWrongFlagsAreNamedAndNothingStarts(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--fast"}, `flag="--fast": want `},
		{[]string{"--datagrams", "many"}, `--datagrams="many": want a whole number from 1 to `},
		{[]string{"--datagrams", "0"}, `--datagrams="0": want a whole number from 1 to `},
		{[]string{"--clients", "0"}, `--clients="0": want `},
		{[]string{"--window", "901"}, `--window="901": want `},
		{[]string{"--clients", "30", "--window", "31"}, `--window="31": want at most 900 datagrams under way, so at most 30 with --clients 30`},
		{[]string{"--seed", "-1"}, `--seed="-1": want `},
		{[]string{"7"}, `argument="7": want `},
	} {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), c.args, &stdout, &stderr)
		if program.ExitCode(err) != 2 || stdout.Len() > 0 || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: exit %d, %q, stdout %q; want 2 and one line %s…", c.args, program.ExitCode(err), err, &stdout, c.want)
		}
	}
}
