package main

import (
	"fmt"
	"io"

	"udplab/services/kit/program"
)

// output is where results go. It keeps the first error of a write, and says at
// once that there was one: a run whose results nobody gets is of no use, and
// must not pass for one that went well.
type output struct {
	to     io.Writer
	failed func() // called at the first error
	err    error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
		o.failed()
	}
	return n, err
}

// verdict is err, unless something could not be written: exit code 2.
func (o *output) verdict(err error) error {
	if o.err != nil {
		return program.CannotStart(fmt.Errorf("output: %w", o.err))
	}
	return err
}

// throughOutput is isTerminal that looks at what is behind an output.
func throughOutput(isTerminal func(file any) bool) func(file any) bool {
	return func(file any) bool {
		if o, ok := file.(*output); ok {
			file = o.to
		}
		return isTerminal(file)
	}
}
