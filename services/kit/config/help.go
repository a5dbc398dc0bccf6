package config

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Help prints the usage, then the flags and the variables of the struct that
// cfg points to, read from the same tags that Load obeys.
func Help(w io.Writer, usage string, cfg any) {
	var flags, variables []string
	for _, f := range fieldsOf(cfg) {
		unset := "empty"
		if f.Type.Kind() == reflect.Bool {
			unset = "off"
		}
		row := "\t" + cmp.Or(f.Tag.Get("default"), f.Tag.Get("envDefault"), unset) + "\t" + f.Tag.Get("help")
		if empty := f.Tag.Get("empty"); empty != "" {
			row += " (empty: " + empty + ")"
		}
		switch long, short := f.flag(); {
		case short != "":
			flags = append(flags, "-"+short+", --"+long+row)
		case long != "":
			flags = append(flags, "    --"+long+row)
		}
		if !strings.HasPrefix(f.variable, "--") {
			variables = append(variables, f.variable+row)
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, strings.TrimSpace(usage))
	for _, part := range []struct {
		title string
		rows  []string
	}{{"Flags", flags}, {"Variables", variables}} {
		if len(part.rows) > 0 {
			fmt.Fprintf(table, "\n%s:\n  %s\n", part.title, strings.Join(part.rows, "\n  "))
		}
	}
}
