# The front door. `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help deps deps-test simulate soak oracle oracle-routing oracle-transparency run build dist images images-test versions wasm wasm-trap native native-panic wasm-pass-through wasm-no-copies control-plane cli test deploy-test lint deny fmt e2e conformance bench bench-quick bench-oracle bench-against bench-fleet bench-tier bench-admin bench-hostile bench-xds bench-transparency bench-trouble bench-tail bench-telemetry bench-instructions bench-envoy-instructions bench-core bench-hit-ratio fuzz clean

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
WASM := wasm32-wasip1
WASM_BUILD := $(CARGO) build --locked -p api-optimizer-filter --target $(WASM) --profile wasm
WASM_FILE := $(WASM)/wasm/api_optimizer_filter.wasm
WASM_TRIM := $(CARGO) run --locked --quiet -p filter-trim --
NATIVE_BUILD := $(CARGO) build --locked -p api-optimizer-filter-native --profile native
# In what form the filter runs in stories, in `make conformance` and in `make run`: wasm or native.
FILTER ?= wasm
export FILTER

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run takes from the environment: LISTEN_PORT (10000), ADMIN_PORT (9901), REST_PORT (8080), GRPC_PORT (18000),"
	@echo "  ORIGIN (host:port in place of the demo API), CONCURRENCY (2 workers), CONFIG_DIR (a ConfigMap volume), ENVOY_BIN,"
	@echo "  STATE_DIR (.state/REST_PORT). Two instances with different ports run side by side."

deps: ## Find or install the wasm target and Envoy
	@envoy/install.sh

deps-test: deps ## Find or install what the tests need besides: Redis, Prometheus, Alertmanager, operators' tools
	@tests/services.sh

run: ## Demo API, control plane and Envoy with the filter, until Ctrl-C
	@CARGO="$(CARGO)" exec tests/harness/run.sh

build: wasm ## The filter, the control plane and the command line as they are shipped
	$(CARGO) build --locked --release -p api-optimizer-control-plane
	$(CARGO) build --locked --release -p optimizer-cli

dist: build native ## What is shipped, into dist/: filter, control plane, command line, Helm chart, SBOMs, notices, checksums
	CARGO="$(CARGO)" TAG="$(TAG)" deploy/dist.sh

images: dist ## Images as OCI layouts, into dist/images, without Docker: control plane, Envoy (Wasm, native), ops, the filter
	deploy/images/build.py

images-test: deps ## Runs the images of `make images` as their manifests do, and builds them once more for the same digests
	IMAGES_AGAIN=true python3 -B deploy/images/test_images.py

versions: deps-test wasm wasm-trap control-plane ## The stories' core on every version of Envoy that is promised: VERSIONS ("1.36.4 ... 1.40.0")
	@tests/versions.sh

wasm: deps ## The shipped filter
	$(WASM_BUILD)
	$(WASM_TRIM) $(TARGET_DIR)/$(WASM_FILE)

# Without link-time optimisation: it is only asked to trap. A target directory of its own keeps it apart from the shipped one.
wasm-trap: deps ## The filter with the test trigger
	CARGO_PROFILE_WASM_LTO=off CARGO_PROFILE_WASM_CODEGEN_UNITS=16 $(WASM_BUILD) --features trap-trigger --target-dir $(TARGET_DIR)/trap
	$(WASM_TRIM) $(TARGET_DIR)/trap/$(WASM_FILE)

native: ## The filter as a dynamic module of Envoy 1.39 and 1.40
	$(NATIVE_BUILD)

# Without link-time optimisation: it is only asked to panic.
native-panic: ## The same with the test trigger
	CARGO_PROFILE_NATIVE_LTO=off CARGO_PROFILE_NATIVE_CODEGEN_UNITS=16 $(NATIVE_BUILD) --features panic-trigger --target-dir $(TARGET_DIR)/panic

control-plane:
	$(CARGO) build --locked -p api-optimizer-control-plane

cli:
	$(CARGO) build --locked -p optimizer-cli

test: deps-test wasm wasm-trap native native-panic control-plane cli ## All tests: native ones, and stories on the real Envoy
	$(CARGO) test --locked --no-fail-fast

e2e: deps-test wasm wasm-trap native native-panic control-plane cli ## The stories on the real Envoy alone
	$(CARGO) test --locked -p e2e

simulate: SECONDS = 3600
simulate: ## The fleet, simulated from seeds, with everything that may go wrong: SECONDS (3600); SEED=n or RUN='…' runs one again
	$(CARGO) build --locked --release -p simulation
	SECONDS=$(SECONDS) $(TARGET_DIR)/release/simulate

# Development builds: their checks for overflow are part of it.
soak: SECONDS = 3600
soak: deps-test wasm control-plane ## The real product under steady traffic with a fault each minute, every answer checked: SECONDS (3600), RATE, SEED
	$(CARGO) build --locked -p e2e --bin soak
	SECONDS=$(SECONDS) $(TARGET_DIR)/debug/soak

# Once over everything, as in `make e2e`, and then on with further seeds and rounds. ORACLE_SEED=n runs one world of the routing oracle again.
oracle: SECONDS = 600
oracle: deps-test wasm ## What the filter may do, judged by its twin, nginx, Varnish and the origin: SECONDS (600)
	ORACLE_SECONDS=$(SECONDS) $(CARGO) test --locked -p e2e --test stories oracle:: -- --test-threads=1 --nocapture

oracle-routing: SECONDS = 600
oracle-routing: deps-test wasm ## Random requests and configurations against an Envoy without the filter: SECONDS (600)
	ORACLE_SECONDS=$(SECONDS) $(CARGO) test --locked -p e2e --test stories oracle::routing -- --nocapture

oracle-transparency: SECONDS = 600
oracle-transparency: deps-test wasm ## Traffic of every kind against an Envoy without the filter: SECONDS (600)
	ORACLE_SECONDS=$(SECONDS) $(CARGO) test --locked -p e2e --test stories oracle::transparency -- --nocapture

deploy-test: deps-test ## Manifests, rules, dashboards, and the operators' scripts in good and bad states
	CHECK_ALL=true deploy/check.sh
	deploy/tests/run.sh

fmt: ## Format
	$(CARGO) fmt --all

lint: deps ## Formatting and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked -p api-optimizer-filter --target $(WASM) -- -D warnings
	$(CARGO) clippy --locked -p api-optimizer-filter --target $(WASM) --features trap-trigger -- -D warnings

deny: ## Licences, duplicates, bans, sources and vulnerabilities of what is built, by cargo-deny
	tests/tools/deny.sh

conformance: $(FILTER) control-plane ## The public HTTP caching suite through envoy/static.yaml, with filter and control plane
	tests/conformance/install.sh
	$(CARGO) run --locked --quiet -p e2e --bin conformance

wasm-pass-through: deps ## A filter that does nothing, for the benchmark
	$(WASM_BUILD) --example pass_through

wasm-no-copies: deps ## The filter without a worker's own copies, for the benchmark
	$(WASM_BUILD) --features no-copies --target-dir $(TARGET_DIR)/no-copies
	$(WASM_TRIM) $(TARGET_DIR)/no-copies/$(WASM_FILE)

bench: wasm wasm-pass-through wasm-no-copies native ## What the filter costs, as ratios in one run; the hit ratio of each policy
	tests/bench/install.sh
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench
	$(TARGET_DIR)/release/bench
	$(CARGO) bench --locked -p filter-core --features testing --bench hit_ratio
	@$(MAKE) --no-print-directory bench-oracle
	$(CARGO) run --locked --quiet -p e2e --bin bench-transparency

bench-oracle: deps-test wasm control-plane ## How fast the routing oracle asks, and how many leaks the sharing gate tries
	$(CARGO) test --locked --quiet -p e2e --test stories -- oracle::routing oracle::sharing --test-threads=1 --nocapture 2>&1 | \
		grep -oE '(routing oracle|sharing gate): .*|test result: FAILED.*'

bench-quick: wasm wasm-pass-through wasm-no-copies native ## The same in short
	tests/bench/install.sh
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench
	$(TARGET_DIR)/release/bench --quick

# The filter of another revision, built in a folder of its own, takes turns with this one.
bench-against: REVISION = HEAD
bench-against: wasm native ## Ratios of CPU time against the filter of an earlier revision, also as a dynamic module: REVISION (HEAD)
	tests/bench/install.sh
	tests/bench/earlier.sh $(REVISION) $(TARGET_DIR)/earlier
	$(CARGO) build --locked --release -p e2e --bin bench
	$(TARGET_DIR)/release/bench --against $(TARGET_DIR)/earlier/filter.wasm

# The load is light: no release build.
bench-transparency: wasm ## What the cache costs where it gains nothing: throughput, p50 and crowds, with the filter over without
	$(CARGO) run --locked --quiet -p e2e --bin bench-transparency

bench-core: ## Natively: a hit's decision, and what breaker and limit cost a forwarded request
	$(CARGO) bench --locked -p filter-core --features testing --bench parts --bench limit

bench-hit-ratio: ## Hit ratio of each policy, requests and bytes, beside the clairvoyant bound; bytes of overhead per entry
	$(CARGO) bench --locked -p filter-core --features testing --bench hit_ratio

# The first two compute; the last one is the real control plane with a thousand control streams, for a minute and a half.
bench-telemetry: ## What counting costs, how exact merged quantiles are, a thousand Envoys
	$(CARGO) bench --locked -p filter-core --features testing --bench telemetry
	$(CARGO) bench --locked -p control-domain --bench fleet
	$(CARGO) test --locked --release -p api-optimizer-control-plane --test envoys -- --ignored --nocapture

bench-fleet: ## How the control plane grows: 100, 1,000 and 5,000 simulated Envoys
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench-fleet
	$(TARGET_DIR)/release/bench-fleet

bench-xds: wasm ## Live tuning by xDS: a change to in force in Envoy; 1,000 simulated Envoys with 100 clusters
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench-xds
	$(TARGET_DIR)/release/bench-xds

bench-admin: wasm ## Purge, snapshot and restore of a full cache
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench-admin
	$(TARGET_DIR)/release/bench-admin

bench-hostile: ## Memory and processor time of hostile inputs to the control plane; how soon it refuses strangers
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench-hostile
	$(TARGET_DIR)/release/bench-hostile

bench-tier: deps-test wasm ## The shared tier on Redis: times, throughput, troubles, bytes per response
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench-tier
	$(TARGET_DIR)/release/bench-tier

bench-tail: wasm cli ## What `optimizer tail` costs Envoy per hit
	$(CARGO) run --locked --quiet -p e2e --bin bench-tail

bench-trouble: wasm wasm-trap ## Latency of an open loop under purges, outages, pushes, restores and traps
	$(CARGO) build --locked --release -p api-optimizer-control-plane -p e2e --bin api-optimizer-control-plane --bin bench-trouble
	$(TARGET_DIR)/release/bench-trouble

# Needs a nightly toolchain: the coverage that guides the fuzzer is a flag of the unstable compiler. Findings stay in filter/core/fuzz/artifacts.
FUZZ_SECONDS ?= 60
FUZZ_TOOLS := $(abspath $(TARGET_DIR))/fuzz-tools
FUZZ_TARGETS := $(notdir $(basename $(wildcard filter/core/fuzz/fuzz_targets/*.rs)))

fuzz: ## Everything that reads bytes of the network, with random ones: FUZZ_SECONDS (60) for each target
	@PATH="$(FUZZ_TOOLS)/bin:$$PATH" command -v cargo-fuzz >/dev/null || $(CARGO) install --locked --root $(FUZZ_TOOLS) cargo-fuzz@0.13.2
	cd filter/core && for target in $(FUZZ_TARGETS); do \
		PATH="$(FUZZ_TOOLS)/bin:$$PATH" $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 || exit 1; \
	done

bench-instructions: ## Instructions of the hot path's parts against their budgets, under valgrind
	tests/bench/valgrind.sh
	$(CARGO) bench --locked -p filter-core --features testing --bench instructions

bench-envoy-instructions: native ## Instructions of a whole Envoy with the dynamic module for a hit, a forwarded and a stored request
	tests/bench/valgrind.sh
	$(CARGO) build --locked -p e2e --bin bench
	$(TARGET_DIR)/debug/bench --instructions

clean: ## Remove what was built, installed and written
	$(CARGO) clean
	rm -rf .envoy .state dist tests/conformance/node_modules deploy/checks/examples/node_modules
