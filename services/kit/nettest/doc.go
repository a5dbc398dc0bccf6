// Package nettest gives tests namespaces of their own: a network with nothing
// but a loopback interface, on which every port is free and no other traffic
// passes, and mounts that nobody else sees. In it a test may add links and
// addresses, shrink an MTU, or forge a sender. Linux only, and for tests and
// measurements only.
//
// Root may have such namespaces, and ordinary users where the system lets them
// (user_namespaces(7)). Elsewhere the test is skipped, or fails if
// UDPLAB_REQUIRE_OWNNET is 1.
package nettest
