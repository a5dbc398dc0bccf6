module udplab/services/client

go 1.26.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/creack/pty v1.1.24
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.62.0
	golang.org/x/sys v0.49.0
	udplab/services/kit v0.0.0
)

require (
	github.com/caarlos0/env/v11 v11.4.2 // indirect
	github.com/spf13/pflag v1.1.0 // indirect
	golang.org/x/term v0.47.0 // indirect
)

replace udplab/services/kit => ../kit
