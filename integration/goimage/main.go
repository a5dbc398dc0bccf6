// Goimage prints the tag of an image with a Go toolchain for building udplab's
// own, and makes it where there is none and none can be pulled:
//
//	GO_IMAGE=$(go run ./integration/goimage) docker compose up --build
//
// Only the tag goes to stdout. It exits 0, with 1 if the image could not be
// made, and with 2 on a machine whose Go toolchain cannot run in a container.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"udplab/integration/baseimage"
	"udplab/services/kit/program"
)

func main() { program.Main("goimage", run) }

func run(ctx context.Context) error {
	if len(os.Args) > 1 {
		return program.CannotStart(fmt.Errorf("argument %q: want none; it prints the tag of an image with Go", os.Args[1]))
	}
	tag, err := baseimage.Ensure(ctx, func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	})
	if errors.Is(err, baseimage.ErrForeign) {
		return program.CannotStart(err)
	}
	if err == nil {
		fmt.Println(tag)
	}
	return err
}
