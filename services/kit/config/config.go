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
//	range       "1..64", "0..", "..5s": the bounds, both included; keeps NaN out too
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

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Name  string // the variable, flag or argument as the user gave it
	Value string // its value
	Want  string // what would be right
}

func (p Problem) Error() string {
	return fmt.Sprintf("%s=%q: want %s", p.Name, p.Value, p.Want)
}

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
// warnings about variables that nothing reads, and either nil, ErrHelp, or every
// Problem, one a line; after an error the struct is not to be used.
func Load(cfg any, from Source) (warnings []string, err error) {
	fields := fieldsOf(cfg)
	warnings = fields.readEnvironment(from.Environ, from.Prefix)
	arguments, problems, err := fields.readFlags(from.Args, from.Refused)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return nil, ErrHelp
	case err != nil:
		problems = append(problems, flagProblem(err))
	case from.Arguments != nil:
		values, err := from.Arguments(arguments)
		if err != nil {
			problems = append(problems, err)
			break
		}
		for variable, value := range values {
			if f := fields.find(variable); f != nil {
				f.set("argument", value)
			}
		}
	case len(arguments) > 0:
		problems = append(problems, Problem{"argument", arguments[0], "no argument"})
	}
	for _, f := range fields {
		if err := f.parse(cfg); err != nil {
			problems = append(problems, err)
		}
	}
	if c, ok := cfg.(Checker); ok && len(problems) == 0 {
		c.Check(func(variable, want string) {
			problems = append(problems, fields.find(variable).problem(want))
		})
	}
	return warnings, errors.Join(problems...)
}

// readEnvironment takes the values of the fields' variables.
func (fields fields) readEnvironment(environ []string, prefix string) (warnings []string) {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if f := fields.find(name); f != nil {
			f.set(name, value)
		} else if prefix != "" && strings.HasPrefix(name, prefix) {
			warnings = append(warnings, name+" is set, but there is no such variable (-h lists them)")
		}
	}
	slices.Sort(warnings)
	return warnings
}

// readFlags takes the values of the fields' flags and returns the arguments
// between and behind them. A refused flag is a problem unless it has an empty
// value, which is as good as no flag.
func (fields fields) readFlags(args []string, refused map[string]string) (arguments []string, problems []error, err error) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Usage = func() {}
	for _, f := range fields {
		long, short := f.flag()
		take := func(value string) error {
			if want := refused[long]; want != "" && value != "" {
				problems = append(problems, Problem{"--" + long, value, want})
			} else {
				f.set("--"+long, value)
			}
			return nil
		}
		switch {
		case long == "":
		case f.Type.Kind() == reflect.Bool:
			flags.BoolFuncP(long, short, "", take)
		default:
			flags.FuncP(long, short, "", take)
		}
	}
	err = flags.Parse(args)
	return flags.Args(), problems, err
}

// flagProblem says in our words what pflag did not like.
func flagProblem(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		return Problem{"--" + missing.GetFlag().Name, "", "a value"}
	}
	text := err.Error()
	if errors.As(err, &unknown) {
		text = "--" + unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			text = text[1:]
		}
	}
	return Problem{"flag", text, "one of those that -h lists"}
}

// parse writes the field's value into the struct that cfg points to.
func (f *field) parse(cfg any) error {
	err := env.ParseWithOptions(cfg, env.Options{
		Environment:         map[string]string{f.variable: f.value}, // all other fields stay as they are
		DefaultValueTagName: "-",                                    // a default is the value already
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[time.Duration](): func(s string) (any, error) { return ParseDuration(s) },
		},
	})
	var parse env.ParseError
	var precise Problem
	switch {
	case errors.As(err, &parse) && errors.As(parse.Err, &precise):
		return Problem{f.givenBy, cmp.Or(precise.Value, f.value), precise.Want}
	case err != nil || !f.allowed():
		return f.problem(f.want())
	}
	return nil
}
