//go:build !race

package faults_test

var raceFlags []string
