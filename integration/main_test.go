package integration

import (
	"os"
	"testing"

	"udplab/integration/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m))
}
