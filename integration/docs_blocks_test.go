package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A document is a Markdown file at the root or in docs. What its reader types
// and sees is in fenced blocks. The first word behind the fence says how a block
// is read:
//
//	console  "$ command", and what the command prints
//	sh       commands, one a line; a remark begins with two spaces and a #
//	text     what somebody sees; with a word behind it, what the terminal of
//	         that name shows by now; "^C" is the key pressed there
//	json, …  something else; with a word behind it, a file of that name
//
// The word together behind sh means that its two commands are typed at once.
type document struct {
	name  string
	steps []step
}

// step is something that the reader of a document does: a command, look or file.
type step any

// command is what the reader types, which perhaps prints something.
type command struct {
	at    string // document and line
	line  string
	shown []string // what the document says it prints; nil: anything
}

// look is a look at a terminal, which shows these lines among others.
type look struct {
	at       string
	terminal string
	ctrlC    bool
	shows    []string
}

// file is one that the reader copies from the document.
type file struct{ name, content string }

// documents reads all there are.
func documents(t *testing.T) (all []document) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := fs.Glob(os.DirFS(inRoot(t, "")), pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("there are no documents %s (%v)", pattern, err)
		}
		for _, name := range names {
			steps, err := readSteps(name, readRoot(t, name))
			if err != nil {
				t.Error(err)
			}
			all = append(all, document{name, steps})
		}
	}
	return all
}

// block is one fenced block.
type block struct {
	at     string // document and line of its fence
	indent string
	words  []string // behind the fence
	lines  []string
}

var fence = regexp.MustCompile("^( *)```(.*)$")

// readSteps reads the blocks of a document in their order.
func readSteps(name, text string) (steps []step, err error) {
	var open *block
	for i, line := range strings.Split(text, "\n") {
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark != nil && open == nil:
			open = &block{at: fmt.Sprintf("%s:%d", name, i+1), indent: mark[1], words: strings.Fields(mark[2])}
		case mark != nil:
			found, problem := open.steps()
			if problem != nil {
				err = fmt.Errorf("%s: %w", open.at, problem)
			}
			steps, open = append(steps, found...), nil
		case open != nil:
			open.lines = append(open.lines, strings.TrimPrefix(line, open.indent))
		}
	}
	if open != nil {
		err = fmt.Errorf("%s: the block never ends", open.at)
	}
	return steps, err
}

// steps reads what a block wants done.
func (b block) steps() ([]step, error) {
	if len(b.words) == 0 {
		return nil, errors.New("the block does not say what it is, such as sh, console or text")
	}
	named := len(b.words) > 1
	switch kind := b.words[0]; {
	case kind == "console" || kind == "sh":
		return b.commands()
	case kind == "text" && named:
		return []step{b.look()}, nil
	case kind != "text" && named:
		return []step{file{b.words[1], strings.Join(b.lines, "\n") + "\n"}}, nil
	}
	if i := slices.IndexFunc(b.lines, looksTyped.MatchString); i >= 0 {
		return nil, fmt.Errorf("a command in a block that is not called sh or console: %s", b.lines[i])
	}
	return nil, nil
}

var looksTyped = regexp.MustCompile(`^\s*(\$ |(docker|docker-compose|go|curl|sudo|python3) \S)`)

var remark = regexp.MustCompile(`(^|\s+ )#.*`)

// commands reads a block of commands and what they print.
func (b block) commands() (steps []step, err error) {
	var all []command
	console := b.words[0] == "console"
	for _, line := range b.lines {
		line, isTyped := strings.CutPrefix(line, "$ ")
		c := command{at: b.at, line: remark.ReplaceAllString(line, "")}
		switch n := len(all); {
		case console && isTyped:
			c.shown = []string{}
			all = append(all, c)
		case console && n > 0:
			all[n-1].shown = append(all[n-1].shown, line)
		case !console && c.line != "":
			all = append(all, c)
		}
	}
	switch words := b.words[1:]; {
	case len(all) == 0:
		return nil, errors.New("no command in a block of commands")
	case slices.Equal(words, []string{"together"}) && len(all) == 2:
		all[0].line += " & first=$!; " + all[1].line + " && wait $first"
		all = all[:1]
	case len(words) > 0:
		return nil, fmt.Errorf("%q, want nothing, or together for two commands", words)
	}
	for _, c := range all {
		steps = append(steps, c)
	}
	return steps, nil
}

// look reads what a terminal shows.
func (b block) look() look {
	l := look{at: b.at, terminal: b.words[1], shows: slices.Clone(b.lines)}
	if len(l.shows) > 0 && l.shows[0] == "^C" {
		l.ctrlC, l.shows = true, l.shows[1:]
	}
	l.shows = slices.DeleteFunc(l.shows, func(line string) bool { return line == "…" })
	return l
}

func TestABlockIsReadAsItsFirstWordSays(t *testing.T) {
	for _, c := range []struct {
		name, block string
		want        []step
	}{
		{"a command and what it prints", "```console\n$ a b  # remark\none\n\ntwo\n```", []step{
			command{at: "x:1", line: "a b", shown: []string{"one", "", "two"}}}},
		{"two commands of a console", "```console\n$ a\n$ b\n1\n```", []step{
			command{at: "x:1", line: "a", shown: []string{}}, command{at: "x:1", line: "b", shown: []string{"1"}}}},
		{"commands alone", "```sh\n# first\na  # this\n\nb '#'\n```", []step{
			command{at: "x:1", line: "a"}, command{at: "x:1", line: "b '#'"}}},
		{"at once", "```sh together\na\nb\n```", []step{
			command{at: "x:1", line: "a & first=$!; b && wait $first"}}},
		{"a look at a terminal", "```text log\none\n…\n```", []step{
			look{at: "x:1", terminal: "log", shows: []string{"one"}}}},
		{"a key", "```text log\n^C\none\n```", []step{
			look{at: "x:1", terminal: "log", ctrlC: true, shows: []string{"one"}}}},
		{"a file, indented", "  ```python a.py\n  if x:\n      y\n  ```", []step{file{"a.py", "if x:\n    y\n"}}},
		{"a picture", "```text\nclient ──► balancer\n```", nil},
	} {
		if got, err := readSteps("x", c.block); err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", c.want) {
			t.Errorf("%s: got %#v, %v\nwant %#v", c.name, got, err, c.want)
		}
	}
}

func TestABlockThatCannotBeRunIsRefused(t *testing.T) {
	for name, block := range map[string]string{
		"it does not say what it is":     "```\ngo run x\n```",
		"it hides a command in text":     "```text\n  docker compose up\n```",
		"it hides a command in JSON":     "```json\n$ curl x\n```",
		"it has an unknown word":         "```sh twice\na\n```",
		"it has no command":              "```console\njust output\n```",
		"it has one command at once":     "```sh together\na\n```",
		"it never ends":                  "```sh\na\n",
		"it stands between correct ones": "```sh\na\n```\n```\n```\n```sh\nb\n```",
	} {
		if steps, err := readSteps("x", block); err == nil {
			t.Errorf("%s: read as %#v", name, steps)
		}
	}
}
