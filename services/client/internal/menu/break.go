package menu

// whatToType is how to break something, for a client on this system. That of a
// container is Linux whatever the terminal's is, so it says both.
func whatToType(system string) string {
	const compose = `Type one of these in another terminal, where docker-compose.yml is, then send pings:
  docker compose stop server2       it is gone, and its turns go to the next server
  docker compose start server2      it is back, and so is its turn
  docker compose pause server2      it is silent: its turns time out until the balancer notices
  docker compose unpause server2    it answers everything it missed, too late
From outside this menu, ping with --no-deps, or compose starts the server again:
  docker compose run --rm --no-deps client
Bad servers from now on, and good ones again:
`
	const powerShell = `  $env:PINGSERVER_LOSS="0.36"       about every third answer is lost
  $env:PINGSERVER_DELAY="800ms"     every answer takes its time
  Remove-Item Env:PINGSERVER_*
`
	const again = `and after any of these three:
  docker compose up -d server1 server2 server3
Without Docker, stop a server with Ctrl-C and start it again, perhaps so:
`
	if system == "windows" {
		return compose + powerShell + again + `  $env:PINGSERVER_LOSS="0.36"; go run ./services/pingserver 2527
`
	}
	return compose + `  export PINGSERVER_LOSS=0.36       about every third answer is lost
  export PINGSERVER_DELAY=800ms     every answer takes its time
  unset PINGSERVER_LOSS PINGSERVER_DELAY
(in PowerShell: $env:PINGSERVER_LOSS="0.36", and Remove-Item Env:PINGSERVER_*)
` + again + `  PINGSERVER_LOSS=0.36 go run ./services/pingserver 2527
  PINGSERVER_DELAY=800ms go run ./services/pingserver 2527
`
}
