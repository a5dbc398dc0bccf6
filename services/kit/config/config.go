// Package config reads a program's configuration from the environment, the
// flags and the arguments, and prints it as the tables of -h.
//
// A configuration is a struct. Its fields carry these tags:
//
//	env         the variable
//	envDefault  its value when it is not set
//	default     how the help shows a default that is no plain value
//	flag        "long" or "long,short": the flag that overrides the variable
//	help        what it does, in a few words
//	want        what would be right, for the error message; by type if missing
//	range       "1..64", "0..", "..5s": the bounds, both included
//	empty       what an empty value means, "refused" if it is a mistake;
//	            without this tag it means: not set
//
// A field that exists on the command line only has its flag as variable:
// `env:"--json" flag:"json"`.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
)

// ErrHelp is what Load returns when -h or --help was asked for.
var ErrHelp = errors.New("help")

// Checker is a configuration with rules beyond those of each single value.
type Checker interface {
	// Check calls wrong for every broken rule: the variable, and what would
	// be right. It is called only once every value has the right type.
	Check(wrong func(variable, want string))
}

// Source is where a configuration is read from.
type Source struct {
	// Prefix of the program's variables. An unknown variable that has it gets
	// a warning.
	Prefix string
	// Args are the command line's flags and arguments without the program.
	Args []string
	// Environ is the environment as os.Environ gives it.
	Environ []string
	// Refused has the flags that do not go with what the program is asked to
	// do, by their long names, and says what would be right instead.
	Refused map[string]string
	// Arguments turns what is left after the flags into values of variables.
	// nil: no argument is taken.
	Arguments func(args []string) (map[string]string, error)
}

// Load fills the struct that cfg points to from the defaults, the environment,
// the flags and the arguments, each overriding the one before. It returns
// warnings about variables that nothing reads, and either nil, ErrHelp, or all
// Problems at once; after an error the struct is not to be used.
func Load(cfg any, from Source) (warnings []string, err error) {
	fields := fieldsOf(cfg)
	warnings = fields.readEnvironment(from.Environ, from.Prefix)
	arguments, problems, err := fields.readFlags(from.Args, from.Refused)
	switch {
	case errors.Is(err, ErrHelp):
		return nil, err
	case err != nil:
		problems = append(problems, err)
	case from.Arguments != nil:
		values, err := from.Arguments(arguments)
		if err != nil {
			problems = append(problems, err)
		}
		for variable, value := range values {
			if f := fields.find(variable); f != nil {
				f.set("argument", value)
			}
		}
	case len(arguments) > 0:
		problems = append(problems, Problem{"argument", arguments[0], "no argument"})
	}
	problems = append(problems, fields.parse(cfg)...)
	if c, ok := cfg.(Checker); ok && len(problems) == 0 {
		c.Check(func(variable, want string) {
			problems = append(problems, fields.find(variable).problem(want))
		})
	}
	if len(problems) > 0 {
		return warnings, problems
	}
	return warnings, nil
}

// readEnvironment takes the values of the fields' variables.
func (fields fields) readEnvironment(environ []string, prefix string) (warnings []string) {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if f := fields.find(name); f != nil {
			f.set(name, value)
		} else if prefix != "" && strings.HasPrefix(name, prefix) {
			warnings = append(warnings, fmt.Sprintf("%s is set, but there is no such variable (-h lists them)", name))
		}
	}
	slices.Sort(warnings)
	return warnings
}

// readFlags takes the values of the fields' flags and returns the arguments
// between and behind them. A refused flag is a problem unless it has an empty
// value, which is as good as no flag.
func (fields fields) readFlags(args []string, refused map[string]string) (arguments []string, problems Problems, err error) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Usage = func() {}
	for _, f := range fields {
		if long, short := f.flag(); long != "" {
			flags.StringP(long, short, "", "")
			if f.Type.Kind() == reflect.Bool {
				flags.Lookup(long).NoOptDefVal = "true"
			}
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, nil, flagProblem(err)
	}
	for _, f := range fields {
		long, _ := f.flag()
		if long == "" || !flags.Changed(long) {
			continue
		}
		value := flags.Lookup(long).Value.String()
		if want := refused[long]; want != "" && value != "" {
			problems = append(problems, Problem{"--" + long, value, want})
		} else {
			f.set("--"+long, value)
		}
	}
	return flags.Args(), problems, nil
}

// flagProblem says in our words what pflag did not like.
func flagProblem(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	const listed = "one of those that -h lists"
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return ErrHelp
	case errors.As(err, &missing):
		return Problem{"--" + missing.GetFlag().Name, "", "a value"}
	case !errors.As(err, &unknown):
		return Problem{"flag", err.Error(), listed}
	case unknown.GetSpecifiedShortnames() != "":
		return Problem{"flag", "-" + unknown.GetSpecifiedName(), listed}
	}
	return Problem{"flag", "--" + unknown.GetSpecifiedName(), listed}
}

// parse writes the fields' values into the struct.
func (fields fields) parse(cfg any) (problems Problems) {
	environment := map[string]string{}
	for _, f := range fields {
		environment[f.variable] = f.value
	}
	err := env.ParseWithOptions(cfg, env.Options{
		Environment:         environment,
		DefaultValueTagName: "-", // defaults are in the environment already
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[time.Duration](): func(s string) (any, error) { return ParseDuration(s) },
			reflect.TypeFor[float64]():       parseFinite,
		},
	})
	broken := map[string]bool{} // by name of the struct's field, as env calls it
	var all env.AggregateError
	if errors.As(err, &all) {
		for _, err := range all.Errors {
			var parse env.ParseError
			if !errors.As(err, &parse) {
				problems = append(problems, err)
				continue
			}
			broken[parse.Name] = true
			f := fields[slices.IndexFunc(fields, func(f *field) bool { return f.Name == parse.Name })]
			p := f.problem(f.want())
			if precise := (Problem{}); errors.As(parse.Err, &precise) {
				p.Value, p.Want = cmp.Or(precise.Value, p.Value), precise.Want
			}
			problems = append(problems, p)
		}
	}
	for _, f := range fields {
		if !broken[f.Name] && !f.allowed() {
			problems = append(problems, f.problem(f.want()))
		}
	}
	return problems
}
