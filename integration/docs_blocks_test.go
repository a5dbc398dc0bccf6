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

	"go.yaml.in/yaml/v3"

	"udplab/integration/lab"
)

// A document is the README or a file in docs. What its reader types and sees is
// in fenced blocks, and the first word behind the fence says how to read one:
//
//	console     "$ command", and what the command prints
//	sh          commands, one a line; a remark begins with two spaces and a #
//	powershell  the same for Windows
//	text        what somebody sees; with a word behind it, what the terminal of
//	            that name shows by now; "^C" is the key pressed there
//	json, …     something else; with a word behind it, a file of that name
//
// Behind console and sh, "together" is for commands that are typed at once, and
// "exit=1" for one that is meant to fail.
type document struct {
	name  string
	steps []step
}

// step is something that the reader of a document does.
type step interface{ play(p *player) }

// typing is a command that is typed.
type typing struct {
	at      string // document and line
	command string
	prints  []string // nil: anything
	exit    int
}

// together are commands typed at once, each in a terminal of its own.
type together []typing

// glance is a look at a terminal, which shows these lines among others.
type glance struct {
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
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(names) == 0 {
		t.Fatalf("docs has no documents (%v)", err)
	}
	for i := range names {
		names[i] = "docs/" + filepath.Base(names[i])
	}
	for _, name := range append([]string{"README.md"}, names...) {
		steps, err := readSteps(name, readRoot(t, name))
		if err != nil {
			t.Error(err)
		}
		all = append(all, document{name, steps})
	}
	return all
}

func TestTheWorkflowTypesWhatItsDocumentDoes(t *testing.T) {
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal([]byte(readRoot(t, "docs/github-workflow.yml")), &workflow); err != nil {
		t.Fatal(err)
	}
	played := map[string]bool{}
	for _, d := range documents(t) {
		for _, s := range d.steps {
			if one, ok := s.(typing); ok && d.name == "docs/ci.md" {
				played[one.command] = true
			}
		}
	}
	commands := 0
	for _, job := range workflow.Jobs {
		for _, s := range job.Steps {
			for command := range strings.Lines(s.Run) {
				commands++
				if command = strings.TrimSpace(command); !played[command] {
					t.Errorf("docs/ci.md does not have %s", command)
				}
			}
		}
	}
	if commands == 0 {
		t.Error("the workflow runs nothing")
	}
}

// block is one fenced block.
type block struct {
	at    string
	words []string // behind the fence
	lines []string
}

var fence = regexp.MustCompile("^( *)```(.*)$")

// readSteps reads the blocks of a document in their order.
func readSteps(name, text string) (steps []step, err error) {
	var open *block
	indent := ""
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark == nil && open != nil:
			open.lines = append(open.lines, strings.TrimPrefix(line, indent))
		case mark != nil && open == nil:
			open, indent = &block{at: at, words: strings.Fields(mark[2])}, mark[1]
		case mark != nil:
			found, problem := open.steps()
			steps, err = append(steps, found...), cmp.Or(err, problem)
			open = nil
		}
	}
	if open != nil {
		err = cmp.Or(err, fmt.Errorf("%s: the block never ends", open.at))
	}
	return steps, err
}

// steps reads what a block wants done.
func (b block) steps() ([]step, error) {
	if len(b.words) == 0 {
		return nil, fmt.Errorf("%s: the block does not say what it is, such as sh, console or text", b.at)
	}
	var typed []typing
	switch b.words[0] {
	case "console":
		typed = b.console()
	case "sh":
		typed = b.commands(func(line string) string { return line })
	case "powershell":
		typed = b.commands(fromPowerShell)
	case "text":
		return b.text()
	default:
		if len(b.words) > 1 {
			return []step{file{b.words[1], strings.Join(b.lines, "\n") + "\n"}}, nil
		}
		return nil, b.noCommand()
	}
	if len(typed) == 0 {
		return nil, fmt.Errorf("%s: no command in a block of commands", b.at)
	}
	return b.obey(typed)
}

// obey does what further words behind the fence say.
func (b block) obey(typed []typing) (steps []step, err error) {
	for _, word := range b.words[1:] {
		code, isExit := strings.CutPrefix(word, "exit=")
		switch {
		case word == "together":
			return []step{together(typed)}, nil
		case isExit:
			last := &typed[len(typed)-1]
			if last.exit, err = strconv.Atoi(code); err != nil {
				return nil, fmt.Errorf("%s: %w", b.at, err)
			}
		default:
			return nil, fmt.Errorf("%s: nobody knows the word %q", b.at, word)
		}
	}
	for _, one := range typed {
		steps = append(steps, one)
	}
	return steps, nil
}

// console reads commands and what they print.
func (b block) console() (typed []typing) {
	for i, line := range b.lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			typed = append(typed, typing{at: b.line(i), command: withoutRemark(command), prints: []string{}})
		} else if len(typed) > 0 {
			last := &typed[len(typed)-1]
			last.prints = append(last.prints, line)
		}
	}
	return typed
}

// commands reads commands alone.
func (b block) commands(translate func(string) string) (typed []typing) {
	for i, line := range b.lines {
		if command := withoutRemark(line); command != "" {
			typed = append(typed, typing{at: b.line(i), command: translate(command)})
		}
	}
	return typed
}

// text reads what a terminal shows, if the block names one.
func (b block) text() ([]step, error) {
	if len(b.words) == 1 {
		return nil, b.noCommand()
	}
	g := glance{at: b.at, terminal: b.words[1], shows: b.lines}
	if len(g.shows) > 0 && g.shows[0] == "^C" {
		g.ctrlC, g.shows = true, g.shows[1:]
	}
	g.shows = slices.DeleteFunc(slices.Clone(g.shows), func(line string) bool { return line == "…" })
	return []step{g}, nil
}

var typedElsewhere = regexp.MustCompile(`^\s*(\$ |(docker|docker-compose|go|curl|sudo|python3) \S)`)

// noCommand finds a command in a block of which nothing is played.
func (b block) noCommand() error {
	for i, line := range b.lines {
		if typedElsewhere.MatchString(line) {
			return fmt.Errorf("%s: a command in a block that is not called sh or console: %s", b.line(i), line)
		}
	}
	return nil
}

// line says where the line of a block is.
func (b block) line(i int) string {
	name, first, _ := strings.Cut(b.at, ":")
	n, _ := strconv.Atoi(first)
	return fmt.Sprintf("%s:%d", name, n+1+i)
}

func withoutRemark(command string) string {
	command, _, _ = strings.Cut(command, "  #")
	if strings.HasPrefix(command, "#") {
		return ""
	}
	return strings.TrimSpace(command)
}

var (
	setVariable   = regexp.MustCompile(`^\$env:(\w+) ?= ?"([^"]*)"$`)
	unsetVariable = regexp.MustCompile(`^Remove-Item (?:Env:\w+(?:, )?)+$`)
	variable      = regexp.MustCompile(`Env:(\w+)`)
)

// fromPowerShell is a line for Windows as a line for a shell: variables are set
// and removed there in a way of its own, and one assignment stays set.
func fromPowerShell(line string) string {
	var commands []string
	for command := range strings.SplitSeq(line, "; ") {
		if set := setVariable.FindStringSubmatch(command); set != nil {
			command = "export " + set[1] + "=" + set[2]
		} else if unsetVariable.MatchString(command) {
			var names []string
			for _, name := range variable.FindAllStringSubmatch(command, -1) {
				names = append(names, name[1])
			}
			command = "unset " + strings.Join(names, " ")
		}
		commands = append(commands, command)
	}
	return strings.Join(commands, "; ")
}

func TestABlockIsReadAsItsFirstWordSays(t *testing.T) {
	for _, c := range []struct {
		name, block string
		want        []step
	}{
		{"a command and what it prints", "```console\n$ a b  # remark\none\n\ntwo\n```", []step{
			typing{at: "x:2", command: "a b", prints: []string{"one", "", "two"}}}},
		{"two commands of a console", "```console\n$ a\n$ b\n1\n```", []step{
			typing{at: "x:2", command: "a", prints: []string{}}, typing{at: "x:3", command: "b", prints: []string{"1"}}}},
		{"commands alone", "```sh\n# first\na  # this\n\nb '#'\n```", []step{
			typing{at: "x:3", command: "a"}, typing{at: "x:5", command: "b '#'"}}},
		{"at once", "```sh together\na\nb\n```", []step{
			together{{at: "x:2", command: "a"}, {at: "x:3", command: "b"}}}},
		{"meant to fail", "```console exit=1\n$ a\n```", []step{
			typing{at: "x:2", command: "a", prints: []string{}, exit: 1}}},
		{"for Windows", "```powershell\n$env:A = \"1 2\"; $env:B=\"3\"; go run x\nRemove-Item Env:A, Env:B\n```", []step{
			typing{at: "x:2", command: "export A=1 2; export B=3; go run x"}, typing{at: "x:3", command: "unset A B"}}},
		{"a look at a terminal", "```text log\none\n…\n```", []step{
			glance{at: "x:1", terminal: "log", shows: []string{"one"}}}},
		{"a key", "```text log\n^C\none\n```", []step{
			glance{at: "x:1", terminal: "log", ctrlC: true, shows: []string{"one"}}}},
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

func TestABlockThatWouldNotBePlayedIsRefused(t *testing.T) {
	for name, block := range map[string]string{
		"it does not say what it is":         "```\ngo run x\n```",
		"it hides a command in text":         "```text\n  docker compose up\n```",
		"it hides a command in something":    "```json\n$ curl x\n```",
		"it has an unknown word":             "```sh twice\na\n```",
		"it has no command":                  "```console\njust output\n```",
		"its exit code is none":              "```sh exit=one\na\n```",
		"it never ends":                      "```sh\na\n",
		"one of many, which are fine but it": "```sh\na\n```\n```\n```\n```sh\nb\n```",
	} {
		if steps, err := readSteps("x", block); err == nil {
			t.Errorf("%s: read as %#v", name, steps)
		}
	}
}
