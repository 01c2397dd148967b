# `make` alone prints this list. Only Go is needed, but for integration and bench-e2e, which install what they miss.
GO ?= go
export CGO_ENABLED ?= 0
FUZZTIME ?= 30s
EXAMPLE ?= ads
PROMETHEUS ?= http://127.0.0.1:9090
FROM ?= 30m
TO ?= 0s
OUT ?= dashboard.html
MODEL ?= 1m
ROUNDS ?= 50
SOAK ?= 10m
GOLANGCI = $(GO) tool -modfile=tools/go.mod golangci-lint

.PHONY: help build demo test race model lint lint-deploy integration live bench bench-e2e bench-recovery alerts dashboard drill soak crashes fuzz mutants golden cover tidy-check
help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## build ./highwater
	$(GO) build -o highwater ./cmd/highwater

demo: build ## run an example on real events and serve its features (EXAMPLE=ads, logs or surge)
	./highwater dev --example $(EXAMPLE)

test: ## every test that needs nothing but Go
	$(GO) test -timeout 20m ./...

race: ## the same under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 40m ./...

drill: build ## kill -9 and every other fault, ROUNDS rounds on each example: no value and no byte may differ
	./highwater drill --example ads --rounds $(ROUNDS)
	./highwater drill --example logs --rounds $(ROUNDS)
	./highwater drill --example surge --rounds $(ROUNDS)

soak: build ## drills with new seeds, and the random tests, for as long as SOAK says
	./testutil/soak $(SOAK)

lint: ## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GOLANGCI) run ./...

lint-deploy: ## check the service files and the Dockerfile (systemd-analyze, hadolint)
	./deploy/lint

model: ## search larger worlds of the protocol's model for a minute (MODEL=10m for longer)
	HIGHWATER_MODEL=$(MODEL) $(GO) test -count=1 -timeout 0 -v -run Larger ./testutil/model

integration: ## the tests against a real Kafka, a real Redis and a real Redis Cluster
	./testutil/install-servers
	HIGHWATER_INTEGRATION=1 $(GO) test -count=1 -timeout 15m ./batch/kafka/... ./store/online/... ./testutil/...
	HIGHWATER_INTEGRATION=1 $(GO) test -count=1 -timeout 30m -run '^TestReal_' ./cmd/...
	HIGHWATER_INTEGRATION=1 $(GO) test -run '^$$' -bench Upsert -benchtime 5s ./store/online

live: ## ten minutes at 20,000 events/s by the wall clock, with failures in the middle; the dashboard goes to .highwater/live
	./testutil/install-servers
	HIGHWATER_LIVE=10m HIGHWATER_INTEGRATION=1 $(GO) test -count=1 -timeout 25m -v -run '^TestReal_Live$$' ./cmd/highwater

alerts: ## check the alert rules, and test them with promtool
	./testutil/install-servers prometheus
	promtool check rules deploy/prometheus/alerts.yaml
	promtool check config deploy/prometheus/prometheus.yml
	promtool test rules deploy/prometheus/alerts_test.yaml

dashboard: ## draw the dashboard from a Prometheus into one page (PROMETHEUS=, FROM=, TO=, OUT=)
	$(GO) run ./deploy/dashboard/draw -prometheus $(PROMETHEUS) -from $(FROM) -to $(TO) -out $(OUT)

bench: ## benchmarks beside the code
	$(GO) test -run '^$$' -bench . -benchmem ./windows/ ./features/ ./batch/... ./store/... ./serve/ ./api/

bench-e2e: ## 1,000,000 events from the embedded broker to a real Redis: events a second, and the time of each stage
	./testutil/install-servers
	HIGHWATER_INTEGRATION=1 $(GO) test ./cmd/highwater -run "^$$" -bench "EndToEnd|Memory" -benchtime 1x -v

bench-recovery: ## kill -9 a worker with 1,000,000 users in its state: how long until it commits, and is ready
	./testutil/install-servers
	HIGHWATER_INTEGRATION=1 $(GO) test ./cmd/highwater -run "^$$" -bench Recovery -benchtime 1x -v -timeout 20m

crashes: ## every crash point, and again in every recovery until nothing new is left, on a longer log (minutes)
	HIGHWATER_CRASHES=all $(GO) test -count=1 -timeout 0 -v -run 'TestCrash_AtEveryPoint|TestOwners_' ./batch

fuzz: ## fuzz each target for FUZZTIME
	./testutil/fuzz $(FUZZTIME)

mutants: ## put each known bug into the code, and see that its test notices (some minutes)
	HIGHWATER_MUTANTS=1 $(GO) test -count=1 -timeout 30m -run TestMutants_AreCaught -v ./testutil/mutants

golden: ## write the golden files again; look at the diff
	$(GO) test ./features -update
	$(GO) test ./api -run Golden -rewrite
	$(GO) test ./cmd/highwater -run TestSettings -update
	$(GO) test ./testutil/model -update

cover: ## test coverage by package
	$(GO) test -cover ./...

tidy-check: ## go.mod is as go mod tidy leaves it
	$(GO) mod tidy -diff
