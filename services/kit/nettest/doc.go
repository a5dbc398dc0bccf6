// Package nettest runs a test in a network of its own, for what cannot be had on
// a machine's own network or must not be done to it: links, addresses, narrow
// ways, datagrams with a forged sender. It is for tests only, and for Linux; a
// test that may not have such a network (user_namespaces(7)) is skipped, unless
// UDPLAB_REQUIRE_OWNNET is 1.
package nettest
