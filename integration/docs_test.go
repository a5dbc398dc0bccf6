package integration

import (
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// inRoot is the path of a file at the root of the workspace.
func inRoot(t *testing.T, name string) string {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, name)
}

func readRoot(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(inRoot(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newRow is one row of a table: its cells without backticks.
func newRow(cells ...string) string {
	for i := range cells {
		cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
	}
	return strings.Join(cells, " | ")
}

func firstCell(row string) string { first, _, _ := strings.Cut(row, " | "); return first }

// tableRows reads every row of a document's tables whose first column is headed
// so.
func tableRows(t *testing.T, document, heading string) (rows []string) {
	t.Helper()
	inside := false
	for line := range strings.Lines(readRoot(t, document)) {
		line = strings.TrimSpace(line)
		r := newRow(strings.Split(strings.Trim(line, "|"), "|")...)
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case firstCell(r) == heading:
			inside = true
		case inside && strings.Trim(firstCell(r), ":-") != "":
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table headed | %s |", document, heading)
	}
	return rows
}

// help is what a program's -h prints.
func help(t *testing.T, program string) string {
	t.Helper()
	exit, err := labtest.Programs(t).Run(labtest.Within(t), program, nil, "-h")
	if err != nil || exit.Code != 0 {
		t.Fatalf("%s -h: exit %d, %v\n%s", program, exit.Code, err, exit.Stderr)
	}
	return exit.Stdout
}

// helpRows reads a table of a program's -h: "Variables" or "Flags".
func helpRows(t *testing.T, program, table string) (rows []string) {
	t.Helper()
	_, text, found := strings.Cut(help(t, program), "\n"+table+":\n")
	if !found {
		t.Fatalf("%s -h has no table %q", program, table)
	}
	text, _, _ = strings.Cut(text, "\n\n")
	columns := regexp.MustCompile(` {2,}`)
	for line := range strings.Lines(text) {
		rows = append(rows, newRow(columns.Split(strings.TrimSpace(line), 3)...))
	}
	return rows
}

// expectSame wants a document to have each of these once and nothing else.
func expectSame(t *testing.T, document string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("%s differs from the programs (-want +got):\n%s", document, diff)
	}
}

func TestTheDocumentedVariablesAreThoseOfTheProgramsHelp(t *testing.T) {
	var want []string
	for _, program := range []string{"balancer", "pingserver", "client"} {
		want = append(want, helpRows(t, program, "Variables")...)
	}
	expectSame(t, "docs/configuration.md", tableRows(t, "docs/configuration.md", "variable"), want)
}

func TestTheDocumentedFlagsAreThoseOfTheClientsHelp(t *testing.T) {
	expectSame(t, "docs/client.md", tableRows(t, "docs/client.md", "flag"), helpRows(t, "client", "Flags"))
	usage, _, _ := strings.Cut(help(t, "client"), "\n\n")
	_, usage, _ = strings.Cut(usage, "usage: ")
	usage = strings.ReplaceAll(usage, "\n       ", "\n")
	if usage == "" || !strings.Contains(readRoot(t, "docs/client.md"), "```text\n"+usage+"\n```\n") {
		t.Errorf("docs/client.md has no block of text with\n%s", usage)
	}
}

func TestTheDocumentedMetricsAreThoseOfTheBalancer(t *testing.T) {
	answer, err := http.Get(labtest.Start(t, lab.Config{}).URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	// name{label,label}, without the labels' values and a histogram's series.
	value := regexp.MustCompile(`="[^"]*"| \S+$|_(bucket|sum|count)|,?le`)
	var want, got []string
	for line := range strings.Lines(string(body)) {
		if name := value.ReplaceAllString(strings.TrimSpace(line), ""); !strings.HasPrefix(name, "#") {
			want = append(want, sortLabels(name))
		}
	}
	for _, r := range tableRows(t, "docs/metrics.md", "metric") {
		got = append(got, sortLabels(firstCell(r)))
	}
	expectSame(t, "docs/metrics.md", got, want)
}

// sortLabels puts the labels of name{b,a} in order.
func sortLabels(metric string) string {
	name, list, _ := strings.Cut(strings.TrimSuffix(metric, "}"), "{")
	labels := strings.Split(list, ",")
	slices.Sort(labels)
	return name + "{" + strings.Join(labels, ",") + "}"
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the headings of a document as GitHub makes anchors of them.
func anchors(text string) (all []string) {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		slug := notSlug.ReplaceAllString(strings.ToLower(match[1]), "")
		all = append(all, strings.ReplaceAll(slug, " ", "-"))
	}
	return all
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, d := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(readRoot(t, d.name), -1) {
			if strings.Contains(match[1], "://") {
				continue // other sites are not asked
			}
			file, anchor, hasAnchor := strings.Cut(match[1], "#")
			target := d.name
			if file != "" {
				target = path.Join(path.Dir(d.name), file)
			}
			if _, err := os.Stat(inRoot(t, target)); err != nil {
				t.Errorf("%s links to %s: %v", d.name, match[1], err)
			} else if hasAnchor && !slices.Contains(anchors(readRoot(t, target)), anchor) {
				t.Errorf("%s links to %s, but there is no such heading", d.name, match[1])
			}
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
		if err := yaml.Unmarshal([]byte(readRoot(t, name)), &file); err != nil {
			t.Fatal(err)
		}
	}
	if len(file.Services) < 6 {
		t.Fatalf("the compose files have only %d services", len(file.Services))
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
			if !slices.ContainsFunc(known, func(r string) bool { return firstCell(r) == variable }) {
				t.Errorf("service %s sets %s, which %s does not read", name, variable, program)
			}
		}
	}
}

func TestEveryShellVariableOfTheComposeFileIsDocumented(t *testing.T) {
	var documented []string
	for _, r := range tableRows(t, "docs/configuration.md", "variable of your shell") {
		documented = append(documented, strings.Split(firstCell(r), ", ")...)
	}
	for _, match := range regexp.MustCompile(`\$\{(\w+)`).FindAllStringSubmatch(readRoot(t, "docker-compose.yml"), -1) {
		if !slices.Contains(documented, match[1]) {
			t.Errorf("docs/configuration.md does not mention %s, which docker-compose.yml passes on", match[1])
		}
	}
}

// inline is a command in the middle of a sentence or in a table, which is not
// run.
var inline = regexp.MustCompile("`(go run|docker compose) ([^`…]+)`")

func TestEveryCommandInASentenceHasItsProgram(t *testing.T) {
	services := readCompose(t).Services
	// After these the first word that is no flag is a service.
	ofService := []string{"run", "start", "stop", "restart", "kill", "pause", "unpause", "exec"}
	found := map[string]int{}
	for _, d := range documents(t) {
		for _, match := range inline.FindAllStringSubmatch(readRoot(t, d.name), -1) {
			found[match[1]]++
			words := slices.DeleteFunc(strings.Fields(match[2]), func(word string) bool { return strings.HasPrefix(word, "-") })
			ok := true
			switch {
			case match[1] == "go run":
				_, err := os.Stat(inRoot(t, words[0]+"/main.go"))
				ok = err == nil
			case slices.Contains(ofService, words[0]) && len(words) > 1:
				_, ok = services[words[1]]
			}
			if !ok {
				t.Errorf("%s: there is nothing that %s could mean", d.name, match[0])
			}
		}
	}
	if found["go run"] == 0 || found["docker compose"] == 0 {
		t.Errorf("found only %v", found)
	}
}

func TestTheWorkflowRunsWhatItsDocumentDoes(t *testing.T) {
	document := readRoot(t, "docs/ci.md")
	commands := regexp.MustCompile(`(?m)^(?: +|.*\brun: )(docker .*)$`).FindAllStringSubmatch(readRoot(t, "docs/github-workflow.yml"), -1)
	for _, command := range commands {
		if !strings.Contains(document, "\n"+command[1]+"\n") {
			t.Errorf("docs/ci.md does not have %s", command[1])
		}
	}
	if len(commands) < 3 {
		t.Errorf("the workflow runs only %q", commands)
	}
}

// codeName is a package, a name and perhaps a method, as the architecture
// document writes them.
var codeName = regexp.MustCompile("`(?:\\w+/)*([a-z]+)\\.(?:[A-Z]\\w*\\.)?([A-Za-z]\\w*)`")

func TestTheArchitectureNamesWhatExists(t *testing.T) {
	found := 0
	for _, match := range codeName.FindAllStringSubmatch(readRoot(t, "docs/architecture.md"), -1) {
		if match[2] == "go" {
			continue
		}
		found++
		dir := match[1]
		if dir == "portable" || dir == "worker" {
			dir = "datapath"
		}
		files, _ := filepath.Glob(inRoot(t, "services/balancer/internal/"+dir+"/*.go"))
		defined := regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|type |\t)` + match[2] + `\b`)
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && defined.Match(text)
		}) {
			t.Errorf("docs/architecture.md names %s, which is nowhere", match[0])
		}
	}
	if found < 30 {
		t.Errorf("only %d names of the code were found", found)
	}
}
