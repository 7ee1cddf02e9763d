# LaminarDB: `make demo` shows it at work, `make test` proves it. `make help` lists the rest.

CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/laminardb
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help install install-kafka install-tests demo demo-kafka test test-kafka lint tidy soak release

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: ## installs what a fresh machine is missing to build and run
	@scripts/install.sh

install-kafka: ## the same, and what a real Kafka needs
	@scripts/install.sh --kafka

install-tests: ## the same, and all that the tests need
	@scripts/install.sh --tests

demo: install ## live one-minute bars in the terminal, with an embedded broker
	cargo build --package laminar-server --bins
	@$(CARGO_TARGET_DIR)/debug/laminardb-demo --config laminardb.toml $(DEMO)

demo-kafka: install-kafka ## the same on a real Apache Kafka
	cargo build --package laminar-server --bins
	@export LAMINAR_KAFKA_DIR=$$(mktemp -d); trap 'scripts/kafka.sh stop' EXIT; address=$$(scripts/kafka.sh start) && \
	  $(CARGO_TARGET_DIR)/debug/laminardb-demo --config laminardb.toml --kafka "$$address" $(DEMO)

tidy: ## format and repository manners
	cargo fmt --all --check
	cargo xtask tidy

# Clippy as the compiler of the workspace's own crates: one build lints and tests, and dependencies are not
# compiled a second time in check mode. (rustdoc cannot read what clippy compiles: there are no tests in comments.)
LINTED = RUSTC_WORKSPACE_WRAPPER="$$(rustup which clippy-driver)" \
  CLIPPY_ARGS="-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__"

lint: ## clippy, warnings are errors
	$(LINTED) cargo build --workspace --all-targets

test: install-tests tidy ## installs what is missing and passes every test
	$(LINTED) cargo test --workspace --lib --bins --tests --examples
	@$(MAKE) --no-print-directory test-kafka

# The same build as the other tests: another choice of packages would choose other features and build again.
test-kafka: ## the connector and the whole server on a real Kafka
	$(LINTED) cargo test --workspace --lib --bins --tests --examples --no-run
	$(LINTED) cargo build --workspace --bins --examples
	@export LAMINAR_KAFKA_DIR=$$(mktemp -d); trap 'scripts/kafka.sh stop' EXIT; \
	  export LAMINAR_TEST_KAFKA && LAMINAR_TEST_KAFKA=$$(scripts/kafka.sh start) && \
	  $(LINTED) cargo test --workspace --lib -- --ignored tests::real && \
	  scripts/e2e/kafka.py --target $(CARGO_TARGET_DIR)/debug

soak: ## many simulated databases by seed, many more crash images: SEEDS=20000 FROM=1 TIMES=20
	cargo run --release --package sim -- --seeds $(or $(SEEDS),20000) --from $(or $(FROM),1) --jobs $$(nproc)
	LAMINAR_SOAK=$(or $(TIMES),20) $(LINTED) cargo test --package laminar-storage --lib -- images

release: ## the binary that is shipped
	cargo build --release --package laminar-server --bin laminardb-server
