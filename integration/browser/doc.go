// Package browser tests the balancer's page in a real browser, Chromium, with
// the real programs behind it, and measures what those who watch cost.
//
// Without Chromium the tests are skipped and say so; with
// UDPLAB_REQUIRE_BROWSER=1 they fail. UDPLAB_SCREENSHOTS names a directory for
// the pictures that they make.
package browser
