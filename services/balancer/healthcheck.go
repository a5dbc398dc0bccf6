package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

// healthcheck asks the balancer that this configuration describes whether it
// is alive.
func healthcheck(ctx context.Context, cfg *settings) error {
	if cfg.HTTP == "" {
		return program.CannotStart(config.Problem{Name: "BALANCER_HTTP", Want: "an address: the health is asked there"})
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+config.Loopback(string(cfg.HTTP))+"/healthz", nil)
	if err != nil {
		return err
	}
	request.Host = cfg.HTTPHosts[0]
	direct := http.Transport{DisableKeepAlives: true} // no proxy, whatever the environment says
	answer, err := direct.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("no balancer answers at %s: %w", request.URL, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		return fmt.Errorf("%s: %s: %s", request.URL, answer.Status, strings.TrimSpace(string(text)))
	}
	return nil
}
