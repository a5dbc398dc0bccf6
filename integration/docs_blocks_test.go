package integration

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"udplab/integration/lab"
)

// A document is a Markdown file at the root or in docs. What its reader types
// and sees is in fenced blocks. The first word behind the fence says how a block
// is read:
//
//	console     "$ command", and what the command prints
//	sh          commands, one a line; a remark begins with two spaces and a #
//	powershell  the same for Windows
//	text        what somebody sees; with a word behind it, what the terminal of
//	            that name shows by now; "^C" is the key pressed there
//	json, …     something else; with a word behind it, a file of that name
//
// Further words behind console and sh:
//
//	together    the commands are typed at once
//	exit=1      the last command is meant to end with this code
//	about       its output differs in numbers from run to run, and other lines
//	            may come between
type document struct {
	name  string
	steps []step
}

// step is something that the reader of a document does: typed, look or file.
type step interface{ run(r *runner) }

// typed is the commands of a block.
type typed struct {
	commands []command
	together bool // typed at once, each in a terminal of its own
}

// command is one command, which perhaps prints something.
type command struct {
	at    string // document and line
	line  string
	shown []string // what the document says it prints; nil: anything
	exit  int
	about bool
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
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("there are no documents %s (%v)", pattern, err)
		}
		for _, name := range names {
			name, _ = filepath.Rel(root, name)
			steps, err := readSteps(filepath.ToSlash(name), readRoot(t, name))
			if err != nil {
				t.Error(err)
			}
			all = append(all, document{filepath.ToSlash(name), steps})
		}
	}
	return all
}

// commandsOf lists the commands of the steps, one by one.
func commandsOf(steps ...step) (all []command) {
	for _, s := range steps {
		if t, ok := s.(typed); ok {
			all = append(all, t.commands...)
		}
	}
	return all
}

// block is one fenced block.
type block struct {
	document string
	line     int      // of its fence
	words    []string // behind the fence
	lines    []string
}

// at says where the nth line of a block is; 0 is its fence.
func (b block) at(n int) string { return fmt.Sprintf("%s:%d", b.document, b.line+n) }

var fence = regexp.MustCompile("^( *)```(.*)$")

// readSteps reads the blocks of a document in their order.
func readSteps(name, text string) (steps []step, err error) {
	var open *block
	indent := ""
	for i, line := range strings.Split(text, "\n") {
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark == nil && open != nil:
			open.lines = append(open.lines, strings.TrimPrefix(line, indent))
		case mark != nil && open == nil:
			open, indent = &block{document: name, line: i + 1, words: strings.Fields(mark[2])}, mark[1]
		case mark != nil:
			found, problem := open.steps()
			steps, err = append(steps, found...), cmp.Or(err, problem)
			open = nil
		}
	}
	if open != nil {
		err = cmp.Or(err, fmt.Errorf("%s: the block never ends", open.at(0)))
	}
	return steps, err
}

// steps reads what a block wants done.
func (b block) steps() ([]step, error) {
	if len(b.words) == 0 {
		return nil, fmt.Errorf("%s: the block does not say what it is, such as sh, console or text", b.at(0))
	}
	named := len(b.words) > 1
	switch kind := b.words[0]; {
	case kind == "console" || kind == "sh" || kind == "powershell":
		return b.commands()
	case kind == "text" && named:
		return []step{b.look()}, nil
	case kind != "text" && named:
		return []step{file{b.words[1], strings.Join(b.lines, "\n") + "\n"}}, nil
	}
	return nil, b.noCommand()
}

// commands reads a block of commands and what they print.
func (b block) commands() ([]step, error) {
	var t typed
	for i, line := range b.lines {
		line, isTyped := strings.CutPrefix(line, "$ ")
		c := command{at: b.at(1 + i), line: withoutRemark(line)}
		switch {
		case b.words[0] == "console" && isTyped:
			c.shown = []string{}
		case b.words[0] == "console":
			if n := len(t.commands); n > 0 {
				t.commands[n-1].shown = append(t.commands[n-1].shown, line)
			}
			continue
		case b.words[0] == "powershell":
			c.line = fromPowerShell(c.line)
		}
		if c.line != "" {
			t.commands = append(t.commands, c)
		}
	}
	if len(t.commands) == 0 {
		return nil, fmt.Errorf("%s: no command in a block of commands", b.at(0))
	}
	last := &t.commands[len(t.commands)-1]
	for _, word := range b.words[1:] {
		code, isExit := strings.CutPrefix(word, "exit=")
		var err error
		switch {
		case word == "together":
			t.together = true
		case word == "about":
			last.about = true
		case isExit:
			last.exit, err = strconv.Atoi(code)
		default:
			err = fmt.Errorf("unknown word %q", word)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.at(0), err)
		}
	}
	return []step{t}, nil
}

// look reads what a terminal shows.
func (b block) look() look {
	l := look{at: b.at(0), terminal: b.words[1], shows: slices.Clone(b.lines)}
	if len(l.shows) > 0 && l.shows[0] == "^C" {
		l.ctrlC, l.shows = true, l.shows[1:]
	}
	l.shows = slices.DeleteFunc(l.shows, func(line string) bool { return line == "…" })
	return l
}

var looksTyped = regexp.MustCompile(`^\s*(\$ |(docker|docker-compose|go|curl|sudo|python3) \S)`)

// noCommand finds a command in a block of which nothing is run.
func (b block) noCommand() error {
	for i, line := range b.lines {
		if looksTyped.MatchString(line) {
			return fmt.Errorf("%s: a command in a block that is not called sh or console: %s", b.at(1+i), line)
		}
	}
	return nil
}

func withoutRemark(line string) string {
	line, _, _ = strings.Cut(line, "  #")
	if strings.HasPrefix(line, "#") {
		return ""
	}
	return strings.TrimSpace(line)
}

var setVariable = regexp.MustCompile(`\$env:(\w+) ?= ?"([^"]*)"`)

// fromPowerShell translates a line for Windows: variables are set and removed in
// another way there, and stay set.
func fromPowerShell(line string) string {
	if names, ok := strings.CutPrefix(line, "Remove-Item "); ok {
		return "unset " + strings.NewReplacer("Env:", "", ",", "").Replace(names)
	}
	return setVariable.ReplaceAllString(line, "export $1=$2")
}

func TestABlockIsReadAsItsFirstWordSays(t *testing.T) {
	for _, c := range []struct {
		name, block string
		want        []step
	}{
		{"a command and what it prints", "```console\n$ a b  # remark\none\n\ntwo\n```", []step{typed{commands: []command{
			{at: "x:2", line: "a b", shown: []string{"one", "", "two"}}}}}},
		{"two commands of a console", "```console about\n$ a\n$ b\n1\n```", []step{typed{commands: []command{
			{at: "x:2", line: "a", shown: []string{}}, {at: "x:3", line: "b", shown: []string{"1"}, about: true}}}}},
		{"commands alone", "```sh\n# first\na  # this\n\nb '#'\n```", []step{typed{commands: []command{
			{at: "x:3", line: "a"}, {at: "x:5", line: "b '#'"}}}}},
		{"at once", "```sh together\na\nb\n```", []step{typed{together: true, commands: []command{
			{at: "x:2", line: "a"}, {at: "x:3", line: "b"}}}}},
		{"meant to fail", "```console exit=1\n$ a\n```", []step{typed{commands: []command{
			{at: "x:2", line: "a", shown: []string{}, exit: 1}}}}},
		{"for Windows", "```powershell\n$env:A = \"1 2\"; $env:B=\"3\"; go run x\nRemove-Item Env:A, Env:B\n```", []step{typed{commands: []command{
			{at: "x:2", line: "export A=1 2; export B=3; go run x"}, {at: "x:3", line: "unset A B"}}}}},
		{"a look at a terminal", "```text log\none\n…\n```", []step{
			look{at: "x:1", terminal: "log", shows: []string{"one"}}}},
		{"a key", "```text log\n^C\none\n```", []step{
			look{at: "x:1", terminal: "log", ctrlC: true, shows: []string{"one"}}}},
		{"a file, indented", "  ```python a.py\n  if x:\n      y\n  ```", []step{file{"a.py", "if x:\n    y\n"}}},
		{"a picture", "```text\nclient ──► balancer\n```", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readSteps("x", c.block)
			if err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", c.want) {
				t.Errorf("got %#v, %v\nwant %#v", got, err, c.want)
			}
		})
	}
}

func TestABlockThatCannotBeRunIsRefused(t *testing.T) {
	for name, block := range map[string]string{
		"it does not say what it is":     "```\ngo run x\n```",
		"it hides a command in text":     "```text\n  docker compose up\n```",
		"it hides a command in JSON":     "```json\n$ curl x\n```",
		"it has an unknown word":         "```sh twice\na\n```",
		"it has no command":              "```console\njust output\n```",
		"its exit code is no number":     "```sh exit=one\na\n```",
		"it never ends":                  "```sh\na\n",
		"it stands between correct ones": "```sh\na\n```\n```\n```\n```sh\nb\n```",
	} {
		if steps, err := readSteps("x", block); err == nil {
			t.Errorf("%s: read as %#v", name, steps)
		}
	}
}
