# `make` alone prints this list. Only Go is needed, but for integration and bench-e2e, which install what they miss.
GO ?= go
export CGO_ENABLED ?= 0
FUZZTIME ?= 30s
EXAMPLE ?= ads
GOLANGCI = $(GO) tool -modfile=tools/go.mod golangci-lint

.PHONY: help build demo test race lint integration bench bench-e2e fuzz golden cover tidy-check
help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## build ./highwater
	$(GO) build -o highwater ./cmd/highwater

demo: build ## run an example on real events and serve its features (EXAMPLE=ads, logs or surge)
	./highwater dev --example $(EXAMPLE)

test: ## every test that needs nothing but Go
	$(GO) test ./...

race: ## the same under the race detector
	CGO_ENABLED=1 $(GO) test -race ./...

lint: ## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GOLANGCI) run ./...

integration: ## the tests against a real Kafka, a real Redis and a real Redis Cluster
	./testutil/install-servers
	HIGHWATER_INTEGRATION=1 $(GO) test -count=1 -timeout 15m ./batch/kafka/... ./store/online/... ./testutil/...
	HIGHWATER_INTEGRATION=1 $(GO) test -count=1 -timeout 15m -run '^TestReal_' ./cmd/...
	HIGHWATER_INTEGRATION=1 $(GO) test -run '^$$' -bench Upsert -benchtime 5s ./store/online

bench: ## benchmarks beside the code
	$(GO) test -run '^$$' -bench . -benchmem ./windows/ ./features/ ./batch/... ./store/... ./serve/ ./api/

bench-e2e: ## 1,000,000 events from the embedded broker to a real Redis: events a second, and the time of each stage
	./testutil/install-servers
	HIGHWATER_INTEGRATION=1 $(GO) test ./cmd/highwater -run "^$$" -bench "EndToEnd|Memory" -benchtime 1x -v

fuzz: ## fuzz each target for FUZZTIME
	./testutil/fuzz $(FUZZTIME)

golden: ## write the golden files again; look at the diff
	$(GO) test ./features -update
	$(GO) test ./api -run Golden -rewrite

cover: ## test coverage by package
	$(GO) test -cover ./...

tidy-check: ## go.mod is as go mod tidy leaves it
	$(GO) mod tidy -diff
