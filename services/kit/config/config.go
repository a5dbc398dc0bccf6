// Package config reads a program's configuration from the environment, the flags
// and the arguments, and prints it as the table of -h.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
)

// A configuration is a struct. Its fields carry these tags:
//
//	env         the variable
//	envDefault  its value when it is not set
//	default     how the help names a default that is no plain value
//	flag        "long" or "long,short": the flag that overrides the variable
//	help        what it does, in a few words
//	want        what would be right, for the error message; by type if missing
//	range       "1..64", "0..", "..5s": the bounds, both included
//	empty       what an empty value means, "refused" if it is a mistake;
//	            without this tag it means: not set
//
// A field that exists on the command line only has its flag as variable:
// `env:"--json" flag:"json"`.

// ErrHelp is what Load returns when -h or --help was asked for.
var ErrHelp = errors.New("help")

// Checker is a configuration with rules beyond those of each single value.
type Checker interface {
	// Check calls wrong for every broken rule: the variable, and what would
	// be right. It is called only once every value has the right type.
	Check(wrong func(variable, want string))
}

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Name  string // the variable, flag or argument as the user gave it
	Value string // its value
	Want  string // what would be right
}

func (p Problem) Error() string {
	return fmt.Sprintf("%s=%q: want %s", p.Name, p.Value, p.Want)
}

// Problems is everything that is wrong with the configuration, one a line.
type Problems []error

func (p Problems) Error() string { return errors.Join(p...).Error() }

// Unwrap gives errors.Is and errors.As the single problems.
func (p Problems) Unwrap() []error { return p }

// Source is where a configuration is read from.
type Source struct {
	// Prefix of the program's variables. One that has it and is not known is
	// warned about.
	Prefix string
	// Args are the command line's flags and arguments without the program.
	Args []string
	// Environ is the environment as os.Environ gives it.
	Environ []string
	// Refused says of flags that do not go with what the program is asked to do
	// what would be right instead. By their long names.
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
	given := map[string]Problem{} // by variable: who set it, to what
	var problems Problems

	known := map[string]bool{}
	for _, f := range fields {
		known[f.variable] = true
	}
	for _, kv := range from.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if known[name] {
			given[name] = Problem{Name: name, Value: value}
		} else if from.Prefix != "" && strings.HasPrefix(name, from.Prefix) {
			warnings = append(warnings, fmt.Sprintf("%s is set, but there is no such variable (-h lists them)", name))
		}
	}
	slices.Sort(warnings)

	arguments, err := parseFlags(fields, from.Args, given)
	if errors.Is(err, ErrHelp) {
		return nil, err
	}
	if err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, refused(fields, given, from.Refused)...)
	switch {
	case from.Arguments != nil && err == nil:
		values, err := from.Arguments(arguments)
		if err != nil {
			problems = append(problems, err)
		}
		for variable, value := range values {
			given[variable] = Problem{Name: "argument", Value: value}
		}
	case len(arguments) > 0:
		problems = append(problems, Problem{"argument", arguments[0], "no argument"})
	}

	problems = append(problems, fill(cfg, fields, given)...)
	if c, ok := cfg.(Checker); ok && len(problems) == 0 {
		c.Check(func(variable, want string) {
			p := given[variable]
			p.Want = want
			problems = append(problems, p)
		})
	}
	if len(problems) > 0 {
		return warnings, problems
	}
	return warnings, nil
}

// fill parses the given values and the defaults into the struct.
func fill(cfg any, fields []field, given map[string]Problem) (problems Problems) {
	environment := map[string]string{}
	for _, f := range fields {
		p, set := given[f.variable]
		if !set || p.Value == "" && f.empty == "" {
			p = Problem{Name: f.variable, Value: f.defaultValue}
			given[f.variable] = p
		}
		environment[f.variable] = p.Value
	}
	err := env.ParseWithOptions(cfg, env.Options{
		Environment:         environment,
		DefaultValueTagName: "-", // defaults are in the environment already
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[time.Duration](): func(s string) (any, error) { return ParseDuration(s) },
			reflect.TypeFor[float64]():       parseFinite,
		},
	})
	broken := map[string]bool{}
	var all env.AggregateError
	if errors.As(err, &all) {
		for _, err := range all.Errors {
			var parse env.ParseError
			if !errors.As(err, &parse) {
				problems = append(problems, err)
				continue
			}
			i := slices.IndexFunc(fields, func(f field) bool { return f.name == parse.Name })
			p := given[fields[i].variable]
			p.Want = fields[i].wanted()
			if named := (Problem{}); errors.As(parse.Err, &named) {
				p.Value, p.Want = cmp.Or(named.Value, p.Value), named.Want
			}
			broken[p.Name] = true
			problems = append(problems, p)
		}
	}
	for _, f := range fields {
		p := given[f.variable]
		refused := f.empty == "refused" && p.Value == ""
		if !broken[p.Name] && (refused || !f.inRange()) {
			p.Want = f.wanted()
			problems = append(problems, p)
		}
	}
	return problems
}

// parseFlags takes the flags out of args, puts their values into given, and
// returns the arguments that are left.
func parseFlags(fields []field, args []string, given map[string]Problem) ([]string, error) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.Usage = func() {}
	set.SetInterspersed(true)
	values := map[string]*string{}
	for _, f := range fields {
		if f.long == "" {
			continue
		}
		values[f.long] = set.StringP(f.long, f.short, "", "")
		if f.value.Kind() == reflect.Bool {
			set.Lookup(f.long).NoOptDefVal = "true"
		}
	}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, ErrHelp
		}
		return nil, flagProblem(err)
	}
	for _, f := range fields {
		if f.long != "" && set.Changed(f.long) {
			given[f.variable] = Problem{Name: "--" + f.long, Value: *values[f.long]}
		}
	}
	return set.Args(), nil
}

// refused takes out of given, and returns, the flags that want says something
// about. An empty value is as good as no flag.
func refused(fields []field, given map[string]Problem, want map[string]string) (problems Problems) {
	for _, f := range fields {
		p := given[f.variable]
		if p.Want = want[f.long]; p.Want != "" && p.Name == "--"+f.long && p.Value != "" {
			problems = append(problems, p)
			delete(given, f.variable)
		}
	}
	return problems
}

// flagProblem says in our words what pflag did not like.
func flagProblem(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		dashes := "--"
		if unknown.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return Problem{"flag", dashes + name, "one of those that -h lists"}
	case errors.As(err, &missing):
		return Problem{"--" + missing.GetFlag().Name, "", "a value"}
	}
	return Problem{"flag", err.Error(), "one of those that -h lists"}
}

// field is one value of a configuration.
type field struct {
	name         string // of the struct's field
	variable     string
	defaultValue string
	defaultText  string
	long, short  string
	help         string
	want         string
	bounds       string
	empty        string
	value        reflect.Value
}

func fieldsOf(cfg any) (fields []field) {
	pointer := reflect.ValueOf(cfg)
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			sf := v.Type().Field(i)
			if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
				walk(v.Field(i))
				continue
			}
			f := field{
				name:         sf.Name,
				variable:     sf.Tag.Get("env"),
				defaultValue: sf.Tag.Get("envDefault"),
				defaultText:  sf.Tag.Get("default"),
				help:         sf.Tag.Get("help"),
				want:         sf.Tag.Get("want"),
				bounds:       sf.Tag.Get("range"),
				empty:        sf.Tag.Get("empty"),
				value:        v.Field(i),
			}
			f.long, f.short, _ = strings.Cut(sf.Tag.Get("flag"), ",")
			if f.variable != "" {
				fields = append(fields, f)
			}
		}
	}
	walk(pointer.Elem())
	return fields
}

// inRange says whether the value lies within the bounds of its range tag.
func (f field) inRange() bool {
	if f.bounds == "" {
		return true
	}
	low, high, ok := f.limits()
	if !ok {
		panic(fmt.Sprintf("field %s: range %q does not parse", f.name, f.bounds))
	}
	n := number(f.value)
	return n >= low && n <= high
}

// limits parses the range tag with the rules of the field's own type.
func (f field) limits() (low, high float64, ok bool) {
	lowText, highText, _ := strings.Cut(f.bounds, "..")
	parse := func(s string, missing float64) float64 {
		if s == "" {
			return missing
		}
		if f.value.Type() == reflect.TypeFor[time.Duration]() {
			d, err := ParseDuration(s)
			ok = ok && err == nil
			return float64(d)
		}
		n, err := strconv.ParseFloat(s, 64)
		ok = ok && err == nil
		return n
	}
	ok = true
	return parse(lowText, math.Inf(-1)), parse(highText, math.Inf(1)), ok
}

func number(v reflect.Value) float64 {
	switch {
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	case v.CanFloat():
		return v.Float()
	}
	panic(fmt.Sprintf("a range on a %s", v.Type()))
}

// wanted says what a right value would be.
func (f field) wanted() string {
	if f.want != "" {
		return f.want
	}
	kind := "a value like " + strconv.Quote(f.defaultValue)
	switch {
	case f.value.Type() == reflect.TypeFor[time.Duration]():
		kind = "a duration such as 200ms, 1.5s or 0.2 (seconds)"
	case f.value.CanInt(), f.value.CanUint():
		kind = "a whole number"
	case f.value.CanFloat():
		kind = "a number"
	case f.value.Kind() == reflect.Bool:
		kind = "true or false"
	}
	low, high, _ := strings.Cut(f.bounds, "..")
	switch {
	case low != "" && high != "":
		return fmt.Sprintf("%s from %s to %s", kind, low, high)
	case low != "":
		return fmt.Sprintf("%s from %s up", kind, low)
	case high != "":
		return fmt.Sprintf("%s up to %s", kind, high)
	}
	return kind
}

// ParseDuration reads a duration as Go writes it (200ms, 1m30s) or as a plain
// number of seconds (0.2), as ping does. It may not be negative.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if seconds, plain := strconv.ParseFloat(s, 64); plain == nil {
		nanos := seconds * float64(time.Second)
		if !(nanos < math.MaxInt64) {
			return 0, fmt.Errorf("%q is too long", s)
		}
		d, err = time.Duration(math.Round(nanos)), nil
	}
	if err != nil {
		return 0, err
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return d, nil
}

// parseFinite refuses NaN and the infinities, which no setting of ours means.
func parseFinite(s string) (any, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err == nil && (math.IsNaN(n) || math.IsInf(n, 0)) {
		err = fmt.Errorf("%q is not finite", s)
	}
	return n, err
}

// Port checks a port number in text, 1 to 65535.
func Port(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return Problem{"port", s, "a port from 1 to 65535"}
	}
	return nil
}

// Address is host:port, either a name or a number as host. The host may be
// empty (every address of this machine), the port 0 (any free one).
type Address string

// UnmarshalText refuses what is not host:port.
func (a *Address) UnmarshalText(text []byte) error {
	const want = "[host]:port with a port from 0 to 65535"
	host, port, err := net.SplitHostPort(string(text))
	awkward := func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }
	if err != nil || port != "0" && Port(port) != nil || strings.ContainsFunc(host, awkward) {
		return Problem{Value: string(text), Want: want}
	}
	*a = Address(text)
	return nil
}

// Loopback is the address at which a program on this machine reaches a
// listener on address: a wildcard or missing host becomes localhost.
func Loopback(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
