package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is one value of a configuration, as text.
type field struct {
	reflect.StructField
	variable string
	value    string // what was given last, else the default
	givenBy  string // the variable, the flag or "argument"
}

type fields []*field

// fieldsOf lists the fields of the struct that cfg points to, those of embedded
// structs included, with their defaults.
func fieldsOf(cfg any) (all fields) {
	for _, sf := range reflect.VisibleFields(reflect.TypeOf(cfg).Elem()) {
		if variable := sf.Tag.Get("env"); variable != "" {
			all = append(all, &field{sf, variable, sf.Tag.Get("envDefault"), variable})
		}
	}
	return all
}

// find returns the field of a variable, or nil.
func (fields fields) find(variable string) *field {
	i := slices.IndexFunc(fields, func(f *field) bool { return f.variable == variable })
	if i < 0 {
		return nil
	}
	return fields[i]
}

// set takes a value from the environment or the command line.
func (f *field) set(givenBy, value string) {
	f.givenBy, f.value = givenBy, value
	if value == "" && f.Tag.Get("empty") == "" {
		f.givenBy, f.value = f.variable, f.Tag.Get("envDefault")
	}
}

func (f *field) problem(want string) Problem { return Problem{f.givenBy, f.value, want} }

// flag is the field's flag; long is empty if there is none.
func (f *field) flag() (long, short string) {
	long, short, _ = strings.Cut(f.Tag.Get("flag"), ",")
	return long, short
}

// allowed says whether a value that has the right type may be empty, if it is,
// and lies within its range.
func (f *field) allowed() bool {
	if f.value == "" {
		return f.Tag.Get("empty") != "refused"
	}
	low, high, limited := strings.Cut(f.Tag.Get("range"), "..")
	return !limited || number(f.value, 0) >= number(low, math.Inf(-1)) && number(f.value, 0) <= number(high, math.Inf(1))
}

// number is the size of a number, or of a duration in seconds.
func number(text string, missing float64) float64 {
	if text == "" {
		return missing
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		d, _ := ParseDuration(text) // there is no third kind
		return d.Seconds()
	}
	return n
}

// want says what a right value would be.
func (f *field) want() string {
	if want := f.Tag.Get("want"); want != "" {
		return want
	}
	kind := "a value like " + strconv.Quote(f.Tag.Get("envDefault"))
	switch zero := reflect.Zero(f.Type); {
	case f.Type == reflect.TypeFor[time.Duration]():
		kind = "a duration such as 200ms, 1.5s or 0.2 (seconds)"
	case zero.CanInt(), zero.CanUint():
		kind = "a whole number"
	case zero.CanFloat():
		kind = "a number"
	case f.Type.Kind() == reflect.Bool:
		kind = "true or false"
	}
	low, high, _ := strings.Cut(f.Tag.Get("range"), "..")
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
