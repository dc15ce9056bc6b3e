# What can be done here: make help.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
PKG      ?= ./...
ARGS     ?=
FUZZTIME ?= 30s
TIMEOUT  ?= 15m

# SQLite is C.
export CGO_ENABLED := 1

# The commit goes into the binary where git can tell it.
VCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

TOOL := $(GO) tool -modfile=tools/go.mod

.PHONY: help
help: ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo
	@echo '  ARGS="…" goes to the program (run, demo, bench), PKG=./proxy narrows (test, micro, fuzz), FUZZTIME=5m lengthens.'

.PHONY: build
build: ## build bin/exeat
	$(GO) build -buildvcs=$(VCS) -trimpath -o bin/exeat ./cmd/exeat

.PHONY: run
run: build ## build, then serve: proxy, DNS and dashboard
	./bin/exeat serve $(ARGS)

.PHONY: demo
demo: build ## build, then play the whole story without internet
	./bin/exeat demo $(ARGS)

.PHONY: setup
setup: ## install what the tests need and is missing (Debian)
	@scripts/setup

.PHONY: test
test: setup ## all tests, with the race detector
	$(GO) test -race -shuffle=on -timeout $(TIMEOUT) $(PKG)
ifeq ($(PKG),./...)
	cd bench && $(GO) test -shuffle=on -timeout $(TIMEOUT) ./...
endif

.PHONY: check
check: fmt vet lint ## format, vet and lint: nothing is changed

.PHONY: fmt
fmt: ## fail if gofmt would change a file
	@out=$$(gofmt -s -l $$(git ls-files '*.go' --cached --others --exclude-standard)); \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...
	cd bench && $(GO) vet ./...

.PHONY: lint
lint: ## golangci-lint, built from tools/go.mod (minutes the first time)
	$(TOOL) golangci-lint run
	cd bench && $(GO) tool -modfile=../tools/go.mod golangci-lint run --config ../.golangci.yml

.PHONY: vuln
vuln: ## known vulnerabilities that are reached
	$(TOOL) govulncheck ./...

.PHONY: bench
bench: build ## the load benchmark: one table against a bare relay (ten minutes)
	cd bench && $(GO) run . $(ARGS)

.PHONY: micro
micro: ## the Go benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m $(PKG)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@GO="$(GO)" scripts/fuzz "$(FUZZTIME)" $(PKG)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
