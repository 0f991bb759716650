# Plain `make` explains the targets. Everything a target needs beyond Go and git it
# fetches by itself, at a pinned version.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
COMPOSE := VERSION="$(VERSION)" docker compose

# For each fuzz target, and for all tests of a package.
FUZZTIME ?= 5m
TIMEOUT ?= 15m
# Of make chaos.
FAULTS ?= 120
SEED ?=
# What the fault tests say, and the sum of it in one line.
FIGURES = cat "$$figures"; awk '{ for (i = 1; i < NF; i++) sum[$$(i + 1)] += $$i } END { \
	printf "together: %d faults, %d events acknowledged, %d requests, %d deliveries repeated, %d discrepancies\n", \
	sum["faults;"], sum["events"], sum["requests,"], sum["deliveries"], sum["discrepancies"] }' "$$figures"

.PHONY: help build run test race chaos fuzz bench journey api lint cross fmt golden up down

help: ## Print this text
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/jetpost
	go build -ldflags '-X main.version=$(VERSION)' -o bin/jetpost ./cmd/jetpost

run: build ## Run everything in one process on 127.0.0.1:8080, data in ./data
	@echo 'Deliveries to this machine (127.0.0.0/8 and ::1) are allowed; jetpost serve by itself refuses them.'
	bin/jetpost serve --data ./data --http 127.0.0.1:8080 --allow-target 127.0.0.0/8 --allow-target ::1/128

# One package after the other: many tests start servers and kill them, and what they
# wait for takes its time when all of them do so at once.
test: ## Run all tests, those of other people's receivers too (TIMEOUT=15m)
	@command -v git >/dev/null || { echo 'The tests push to git repositories of their own: install git.' >&2; exit 1; }
	go mod download
	go vet ./...
	@figures="$$(mktemp)"; trap 'rm -f "$$figures"' EXIT; echo go test -p 1 -timeout $(TIMEOUT) ./...; \
	JETPOST_ORACLE_FIGURES="$$figures" go test -p 1 -timeout $(TIMEOUT) ./... && \
	{ echo 'Under faults (docs/faults.md):'; $(FIGURES); }
	cd interop && go mod download && go test -timeout $(TIMEOUT) ./...

race: ## Run all tests with the race detector (needs a C compiler)
	@command -v "$$(go env CC)" >/dev/null || { echo 'The race detector is linked by a C compiler: install gcc.' >&2; exit 1; }
	CGO_ENABLED=1 go test -race -timeout $(TIMEOUT) ./...

# Each run takes a share of the faults and prints its own figures: see docs/faults.md.
chaos: ## Run the fault tests for long (FAULTS=120, SEED=the time; docs/faults.md)
	@figures="$$(mktemp)"; trap 'rm -f "$$figures"' EXIT; failed=0; \
	JETPOST_ORACLE_FIGURES="$$figures" JETPOST_ORACLE_FAULTS=$(FAULTS) JETPOST_ORACLE_SEED=$(SEED) \
		go test -v -count 1 -timeout 2h -run '^TestOracle' ./cmd/jetpost || failed=1; \
	echo; $(FIGURES); exit $$failed

# Two targets run at a time, with one worker each and a log of its own that is printed
# when it ends. Each new input is minimised for a minute by default, which is where short
# runs would spend all of their time. At the end of its time the fuzzer may report that
# its own context has ended: that is no failing input.
fuzz: ## Run every fuzz target of every package, two at a time (FUZZTIME=5m each)
	@listed="$$(go test -list '^Fuzz' ./...)"; \
	targets="$$(awk '/^Fuzz/ { names[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, names[i]; n = 0 }' <<<"$$listed")"; \
	[[ -n "$$targets" ]] || { echo 'There is no fuzz target.' >&2; exit 1; }; \
	logs="$$(mktemp -d)"; trap 'rm -rf "$$logs"' EXIT; export logs; \
	fuzz() { \
		local log="$$logs/$${1//[^a-z]/_}_$$2" code=0; \
		go test -run '^$$' -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x -parallel 1 "$$1" </dev/null >"$$log" 2>&1 || \
			{ grep -q 'context deadline exceeded' "$$log" && ! grep -q 'Failing input' "$$log"; } || code=1; \
		{ echo "go test -fuzz $$2 $$1"; if ((code)); then cat "$$log"; else tail -n 2 "$$log"; fi; } >"$$log.done"; \
		cat "$$log.done"; \
		return $$code; \
	}; export -f fuzz; \
	xargs -P 2 -n 2 bash -c 'fuzz "$$1" "$$2"' fuzz <<<"$$targets"

bench: build ## Measure throughput and latency beside the machine's own limits, then run the Go benchmarks
	bin/jetpost bench
	go test -run '^$$' -bench . -benchmem -timeout 1h ./...

journey: ## Print the files that one event passes through
	go run ./internal/journey

api: ## Print what has changed in the API of the public packages, and whether it is compatible
	@go test -count=1 -run '^TestPublic' ./internal/publicapi

# vet goes first: it compiles what the linters then find compiled.
lint: ## Check the code with go vet, gofmt, golangci-lint and go mod
	go vet ./...
	@unformatted="$$(go list -f '{{.Dir}}' ./... | xargs gofmt -l)"; \
	[[ -z "$$unformatted" ]] || { printf 'Run make fmt, these are not formatted:\n%s\n' "$$unformatted" >&2; exit 1; }
	$(GOLANGCI_LINT) run ./...
	go mod verify
	go mod tidy -diff
	cd interop && go vet ./... && go mod tidy -diff && $(GOLANGCI_LINT) run --config ../.golangci.yml ./...

# Nothing is run; vet reads the tests too. Without cgo, for which each platform would
# need a C compiler of its own.
cross: ## Build and vet for linux/arm64, darwin/arm64 and windows/amd64
	@for platform in linux/arm64 darwin/arm64 windows/amd64; do \
		echo "go build and vet for $$platform"; \
		export CGO_ENABLED=0 GOOS="$${platform%/*}" GOARCH="$${platform#*/}"; \
		go build ./... && go vet ./... || exit 1; \
	done

fmt: ## Format the code and tidy go.mod
	$(GOLANGCI_LINT) fmt ./...
	go mod tidy
	cd interop && go mod tidy

# A package has golden files when its tests define the flag -update.
golden: ## Rewrite the golden files; review the diff like code
	@packages="$$(grep -rl --include='*_test.go' 'flag\.Bool("update"' . | xargs -r -n 1 dirname | sort -u)"; \
	[[ -n "$$packages" ]] || { echo 'No package has golden files.'; exit 0; }; \
	go test -count=1 -timeout $(TIMEOUT) $$packages -args -update; \
	git status --short -- '*/testdata/*' 2>/dev/null || true

up: .env ## Run NATS, a router, two senders, admin and a receiver with docker compose
	$(COMPOSE) up --build --detach

down: .env ## Stop what make up has started; the data stays
	$(COMPOSE) down

.env:
	@umask 077; printf '# Written by make up.\nJETPOST_ADMIN_TOKEN=%s\n' "$$(od -An -N 32 -t x1 /dev/urandom | tr -d ' \n')" >.env
	@echo 'A new admin token for the containers is in .env.'
