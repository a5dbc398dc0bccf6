# The words that people try first. Each is one command, so nobody needs make.
.PHONY: up down test test-short bench lint

up: # start the lab in containers
	docker compose up --build

down: # end it, and forget whose turn it is
	docker compose down --volumes

test: # all that this machine can test
	go test work

test-short: # seconds, no Docker
	go test -short work

bench: # the balancer beside others
	go run ./integration/bench

lint: # golangci-lint v2, if it is installed; else what Go brings
	@if command -v golangci-lint >/dev/null; then \
		for module in $$(go list -m -f '{{.Dir}}'); do (cd $$module && golangci-lint run ./...) || exit 1; done; \
	else \
		gofmt -l $$(go list -m -f '{{.Dir}}'); go vet work && go tool staticcheck work; \
	fi
