package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Help prints the usage, then the flags and the variables of the struct that
// cfg points to, read from the same tags that Load obeys.
func Help(w io.Writer, usage string, cfg any) {
	fmt.Fprintln(w, strings.TrimSpace(usage))
	fields := fieldsOf(cfg)
	table(w, "Flags", fields, field.flags)
	table(w, "Variables", fields, field.environment)
}

// table prints one row for every field that has a name here.
func table(w io.Writer, title string, fields []field, name func(field) string) {
	rows := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if name(f) == "" {
			continue
		}
		if title != "" {
			fmt.Fprintf(w, "\n%s:\n", title)
			title = ""
		}
		help := f.help
		if f.empty != "" {
			help += " (empty: " + f.empty + ")"
		}
		fmt.Fprintf(rows, "  %s\t%s\t%s\n", name(f), f.shownDefault(), help)
	}
	rows.Flush()
}

func (f field) flags() string {
	switch {
	case f.long == "":
		return ""
	case f.short == "":
		return "    --" + f.long
	}
	return "-" + f.short + ", --" + f.long
}

func (f field) environment() string {
	if strings.HasPrefix(f.variable, "--") {
		return ""
	}
	return f.variable
}

// shownDefault is the default as a person reads it.
func (f field) shownDefault() string {
	switch {
	case f.defaultText != "":
		return f.defaultText
	case f.defaultValue != "":
		return f.defaultValue
	case f.value.Kind() == reflect.Bool:
		return "off"
	}
	return "empty"
}
