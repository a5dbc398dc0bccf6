package main

import "udplab/services/kit/udp"

// probe is the request by which a balancer or a self-check asks whether the
// server lives. It is answered as any other, but never impaired, logged or
// counted.
const probe = "healthcheck"

// appendAnswer appends the answer to the request: its bytes with ASCII letters
// in upper case and all others untouched, a space, and the server's name. An
// answer that does not fit into a datagram loses the end of its text, never
// the name, which is the evidence of who answered; cut says so.
func appendAnswer(to, request []byte, name string) (answer []byte, cut bool) {
	if room := udp.MaxPayload - len(name) - 1; len(request) > room {
		request, cut = request[:room], true
	}
	for _, b := range request {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		to = append(to, b)
	}
	to = append(to, ' ')
	return append(to, name...), cut
}
