// Package integration tests the lab as a whole: the real programs, the real
// image, the real compose file and the real documents.
//
// What a running lab must do is in package scenario, which does not know how the
// lab was started. Package lab starts it as processes of this machine, package
// lab/containers from the Dockerfile. The tests of this package put the two
// together and add what only one of them can show.
//
// Package faults breaks both kinds of lab at random. The program soak sends a great
// many datagrams through one and balances the books.
//
// Without Docker the tests that need it are skipped and say so; with
// UDPLAB_REQUIRE_DOCKER=1 they fail.
package integration
