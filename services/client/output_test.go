package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/kit/program"
)

// full takes so many writes, and no more.
type full struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	if f.room == 0 {
		return 0, errFull
	}
	f.room--
	return f.Buffer.Write(p)
}

func TestOutputThatCannotBeWrittenIsNoSuccess(t *testing.T) {
	for _, tt := range []struct {
		args     string
		stdin    string
		room     int
		requests int // at most: nobody pings on for results that nobody gets
	}{
		{"-c 1 b:1", "", 0, 1},
		{"-c 0 b:1", "", 3, 3},
		{"-c 1 -q b:1", "", 0, 1},
		{"-c 1 --json b:1", "", 0, 1},
		{"-c 1 --json b:1", "", 2, 1}, // but for the summary
		{"-c 1 --json -q b:1", "", 0, 1},
		{"-c 0 --json b:1", "", 2, 2},
		{"load b:1 --window 1 --duration 0", "", 0, 1},
		{"load b:1 --window 1 -c 3 --json -q", "", 0, 3},
		{"ask hello", "", 0, 1},
		{"ask -q hello", "", 0, 1},
		{"ask hello --json", "", 1, 1},
		{"menu b:1", "2\n2\n0\n", 0, 0},
		{"menu b:1", "2\n2\n2\n", 12, 10},
		{"-h", "", 0, 0},
	} {
		l := &lab{answer: roundRobin()}
		out := &full{room: tt.room}
		var stderr bytes.Buffer
		var err error
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err = client{
				stdin: strings.NewReader(tt.stdin), stdout: out, stderr: &stderr, args: strings.Fields(tt.args),
				isTerminal: func(any) bool { return false }, dial: l.dial,
			}.run(ctx)
			if ctx.Err() != nil {
				t.Errorf("%s: goes on until Ctrl-C", tt.args)
			}
		})
		if program.ExitCode(err) != 2 || err.Error() != "output: no space left" || stderr.Len() > 0 {
			t.Errorf("%s, room for %d writes: exit code %d, said %v %s", tt.args, tt.room, program.ExitCode(err), err, &stderr)
		}
		if len(l.requests) > tt.requests {
			t.Errorf("%s, room for %d writes: %d requests", tt.args, tt.room, len(l.requests))
		}
	}
}

func TestAnOutputIsTheTerminalBehindIt(t *testing.T) {
	terminal := &bytes.Buffer{}
	isTerminal := throughOutput(func(file any) bool { return file == terminal })
	for _, tt := range []struct {
		file any
		want bool
	}{{terminal, true}, {&output{to: terminal}, true}, {&output{to: io.Discard}, false}, {io.Discard, false}} {
		if got := isTerminal(tt.file); got != tt.want {
			t.Errorf("%v: %v", tt.file, got)
		}
	}
}
