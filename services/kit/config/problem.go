package config

import (
	"errors"
	"fmt"
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

// Problems is everything that is wrong with the configuration, one a line.
type Problems []error

func (p Problems) Error() string { return errors.Join(p...).Error() }

// Unwrap gives errors.Is and errors.As the single problems.
func (p Problems) Unwrap() []error { return p }
