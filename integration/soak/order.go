package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// order is what was seen of the balancer's own record of turns. No server is
// ever down here, so turn t belongs to the server t mod 3, counted from 0.
type order struct {
	looked     uint64 // turns
	outOfPlace uint64 // of those: another server's, or answered by another
}

// servers is how many a lab has.
const servers = 3

// look reads the turns that the balancer remembers.
func (o *order) look(ctx context.Context, url string) error {
	body, err := get(ctx, url+"/api/ledger?after=0")
	if err != nil {
		return err
	}
	defer body.Close()
	if err := o.read(body); err != nil {
		return fmt.Errorf("/api/ledger: %w", err)
	}
	return nil
}

// read judges every turn of a /api/ledger.
func (o *order) read(ledger io.Reader) error {
	for lines := json.NewDecoder(ledger); ; {
		var line struct {
			Turn       uint64 `json:"turn"`
			Server     string `json:"server"`
			Place      int    `json:"place"`
			Reply      string `json:"reply"` // its beginning
			ReplyBytes int    `json:"reply_bytes"`
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if line.Turn == 0 {
			continue // how many turns are forgotten
		}
		o.looked++
		place := int((line.Turn-1)%servers) + 1
		whole := line.ReplyBytes > 0 && len(line.Reply) == line.ReplyBytes
		if line.Place != place || whole && !strings.HasSuffix(line.Reply, " "+line.Server) {
			o.outOfPlace++
		}
	}
}
