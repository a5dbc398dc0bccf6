//go:build !linux

// Package apart is for programs and tests that want namespaces of their own.
// Linux only.
package apart
