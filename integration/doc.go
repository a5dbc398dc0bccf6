// Package integration tests the lab as a whole: the real programs, the real
// image, the real compose file and the real README.
//
// What a running lab must do is in package scenario, which does not know how
// the lab was started. Started it is by package stack, as processes of this
// machine, and by package containers, from the Dockerfile. The tests of this
// package put the two together and add what only one of them can show.
//
// Package faults breaks labs of both sorts at random, and the program soak sends
// a great many datagrams through one and balances the books. What Linux says of
// a process is in package proc, networks of one's own are in package apart.
//
// Without Docker the tests that need it are skipped and say so; with
// UDPLAB_REQUIRE_DOCKER=1 they fail.
package integration
