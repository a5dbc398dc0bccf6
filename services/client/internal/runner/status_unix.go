//go:build unix

package runner

import (
	"os"
	"os/signal"
	"syscall"
)

// StatusRequests hears SIGQUIT (Ctrl-\), as ping does, until stop is called.
func StatusRequests() (requests <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT)
	return signals, func() { signal.Stop(signals) }
}
