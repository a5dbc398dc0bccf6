package integration

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// readRoot reads a file at the root of the workspace.
func readRoot(t *testing.T, name string) string {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// setting is one row of a table: a variable or a flag, its default as people
// read it, and what it does.
type setting struct{ name, value, help string }

// helpRows reads a table of a program's -h: "Variables" or "Flags".
func helpRows(t *testing.T, program, table string) (rows []setting) {
	t.Helper()
	exit, err := labtest.Programs(t).Run(labtest.Within(t), program, nil, "-h")
	if err != nil || exit.Code != 0 {
		t.Fatalf("%s -h: exit %d, %v\n%s", program, exit.Code, err, exit.Stderr)
	}
	_, text, found := strings.Cut(exit.Stdout, "\n"+table+":\n")
	if !found {
		t.Fatalf("%s -h has no table %q\n%s", program, table, exit.Stdout)
	}
	text, _, _ = strings.Cut(text, "\n\n")
	columns := regexp.MustCompile(` {2,}`)
	for line := range strings.Lines(text) {
		cells := columns.Split(strings.TrimSpace(line), 3)
		if len(cells) != 3 {
			t.Fatalf("%s -h: the row %q has not three columns", program, line)
		}
		rows = append(rows, setting{cells[0], cells[1], cells[2]})
	}
	return rows
}

// readmeRows reads every row of the README's tables whose first column is
// headed so. Backticks are for the eye only.
func readmeRows(t *testing.T, heading string) (rows []setting) {
	t.Helper()
	inside := false
	for line := range strings.Lines(readRoot(t, "README.md")) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
		}
		switch {
		case cells[0] == heading:
			inside = true
		case !inside || strings.Trim(cells[0], ":-") == "":
		case len(cells) != 3:
			t.Errorf("README.md: the row %s has not three columns", line)
		default:
			rows = append(rows, setting{cells[0], cells[1], cells[2]})
		}
	}
	if len(rows) == 0 {
		t.Fatalf("README.md has no table headed | %s |", heading)
	}
	return rows
}

func TestTheReadmesVariablesAreThoseOfTheProgramsHelp(t *testing.T) {
	var want []setting
	for _, program := range []string{"balancer", "pingserver", "client"} {
		for _, row := range helpRows(t, program, "Variables") {
			if !slices.Contains(want, row) { // the balancer and the servers share some
				want = append(want, row)
			}
		}
	}
	compareSettings(t, readmeRows(t, "variable"), want)
}

func TestTheReadmesFlagsAreThoseOfTheClientsHelp(t *testing.T) {
	compareSettings(t, readmeRows(t, "flag"), helpRows(t, "client", "Flags"))
}

func TestTheReadmesUsageIsThatOfTheClientsHelp(t *testing.T) {
	exit, err := labtest.Programs(t).Run(labtest.Within(t), "client", nil, "-h")
	if err != nil {
		t.Fatal(err)
	}
	usage, _, _ := strings.Cut(exit.Stdout, "\n\n")
	_, usage, _ = strings.Cut(usage, "usage: ")
	usage = strings.ReplaceAll(usage, "\n       ", "\n")
	if usage == "" || !strings.Contains(readRoot(t, "README.md"), "```text\n"+usage+"\n```\n") {
		t.Errorf("README.md has no block of text with\n%s", usage)
	}
}

// compareSettings wants the README to have each of the rows once and no other.
func compareSettings(t *testing.T, readme, help []setting) {
	t.Helper()
	for _, row := range help {
		if !slices.Contains(readme, row) {
			t.Errorf("README.md lacks the row | `%s` | `%s` | %s |", row.name, row.value, row.help)
		}
	}
	for i, row := range readme {
		if !slices.Contains(help, row) {
			t.Errorf("README.md has | `%s` | `%s` | %s |, which no program's -h says", row.name, row.value, row.help)
		}
		if slices.ContainsFunc(readme[:i], func(r setting) bool { return r.name == row.name }) {
			t.Errorf("README.md has %s twice", row.name)
		}
	}
}

// composeFile is what is checked of the compose file.
type composeFile struct {
	Services map[string]struct {
		Entrypoint  []string          `yaml:"entrypoint"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
	} `yaml:"services"`
}

// readCompose reads the lab's compose file, and what the fixture adds to it.
func readCompose(t *testing.T) (file composeFile) {
	t.Helper()
	for _, name := range []string{"docker-compose.yml", "docs/fixture.yml"} {
		before := len(file.Services)
		if err := yaml.Unmarshal([]byte(readRoot(t, name)), &file); err != nil {
			t.Fatal(err)
		}
		if len(file.Services) == before {
			t.Fatalf("%s has no services", name)
		}
	}
	return file
}

func TestEveryVariableInTheComposeFileExists(t *testing.T) {
	for name, service := range readCompose(t).Services {
		command := slices.Concat(service.Entrypoint, service.Command)
		if len(command) == 0 {
			t.Errorf("service %s does not say which program it runs", name)
			continue
		}
		program := path.Base(command[0])
		known := helpRows(t, program, "Variables")
		for variable := range service.Environment {
			if !slices.ContainsFunc(known, func(row setting) bool { return row.name == variable }) {
				t.Errorf("service %s sets %s, which %s does not read", name, variable, program)
			}
		}
	}
}

// mentioned are the commands in the documents that start with the words, without
// them, also those in the middle of a sentence, which nobody plays.
func mentioned(t *testing.T, words string) (found [][]string) {
	t.Helper()
	pattern := regexp.MustCompile(`\b` + regexp.QuoteMeta(words) + ` ([^` + "`" + `#)\n]*)`)
	for _, d := range documents(t) {
		for _, match := range pattern.FindAllStringSubmatch(readRoot(t, d.name), -1) {
			// What follows two spaces is a remark.
			command, _, _ := strings.Cut(match[1], "  ")
			found = append(found, strings.Fields(command))
		}
	}
	if len(found) == 0 {
		t.Errorf("no document has a command that starts with %s", words)
	}
	return found
}

func TestEveryGoRunHasItsProgram(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range mentioned(t, "go run") {
		files, err := filepath.Glob(filepath.Join(root, args[0], "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		isMain := func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && regexp.MustCompile(`(?m)^package main$`).Match(text)
		}
		if !strings.HasPrefix(args[0], "./") || !slices.ContainsFunc(files, isMain) {
			t.Errorf("go run %s: there is no program", strings.Join(args, " "))
		}
	}
}

func TestEveryDockerComposeHasItsService(t *testing.T) {
	services := readCompose(t).Services
	// After these the first word that is no flag is a service.
	ofService := []string{"run", "start", "stop", "restart", "kill", "pause", "unpause", "exec"}
	others := []string{"up", "down", "build", "ps", "logs", "…"}
	file := regexp.MustCompile(`-f \S+ `)
	for _, args := range mentioned(t, "docker compose") {
		line := strings.Join(args, " ")
		words := strings.Fields(file.ReplaceAllString(line, ""))
		words = slices.DeleteFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") })
		switch {
		case len(words) > 0 && slices.Contains(others, words[0]):
		case len(words) < 2 || !slices.Contains(ofService, words[0]):
			t.Errorf("docker compose %s: no command that this test knows", line)
		default:
			if _, ok := services[words[1]]; !ok {
				t.Errorf("docker compose %s: there is no service %s", line, words[1])
			}
		}
	}
}
