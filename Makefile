# Each target sets itself up from nothing: Python 3.11, make, a C compiler and cargo are all that is needed; Go too for
# `make chain` and the targets that run a network of validators.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
STAMPS := .stamps
CHAIN := build/cometbft
RUST := $(shell find .cargo crates Cargo.toml Cargo.lock -name target -prune -o -type f -print)

.PHONY: help setup system chain demo test network-test bench-ledger bench-psi bench-psi-large bench-pir bench-pir-large lint bench docs lock format

help:
	@echo "make demo    four institutions on this machine, from import to audit"
	@echo "make test    every test"
	@echo "make network-test  four validators through every failure (a few minutes)"
	@echo "make lint    every check of style, types and imports"
	@echo "make bench-ledger  the ledger embedded and on four validators, beside others"
	@echo "make bench   imports, gate and embedded ledger; results in bench/results"
	@echo "make chain   build the consensus engine of several validators (needs Go)"
	@echo "make bench-psi  private set operations beside spu.psi, up to 10^7 (half an hour)"
	@echo "make bench-psi-large  10^8 by 10^8, beside the figures that are there"
	@echo "make bench-pir  hidden queries of a million records"
	@echo "make bench-pir-large  the same of 10^7 (some minutes, 10 GB of memory)"
	@echo "make format  put every file in the form that lint asks for"
	@echo "make docs    write docs/reference from the code"
	@echo "make lock    renew bootstrap.lock and requirements.lock from pyproject.toml"

# The stamps of the environment live in it, so that removing .venv is all it takes to start anew.
.venv/synced: bootstrap.lock requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11, or make PYTHON=path" >&2; exit 1; }
	@echo "installing what requirements.lock names into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@touch $@

.venv/built: .venv/synced pyproject.toml $(RUST)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.89 or later" >&2; exit 1; }
	@echo "building the kernel (Rust; some minutes the first time)"
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

setup: .venv/built

# What only the tests need of the system: a PostgreSQL server to import from, tcpdump to look at the wire.
system: $(STAMPS)/system
$(STAMPS)/system:
	@mkdir -p $(STAMPS)
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || ! command -v tcpdump >/dev/null 2>&1; then \
	  command -v apt-get >/dev/null || { echo "the tests need PostgreSQL and tcpdump: install them and run again" >&2; exit 1; }; \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q; $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy postgresql tcpdump; fi
	@touch $@

# The consensus engine of a consortium of several validators. A consortium of one validator needs no Go.
chain: $(CHAIN)
$(CHAIN): $(wildcard chain/*)
	@command -v go >/dev/null || { echo "go is missing: install Go 1.25 or later to build chain/" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo "building CometBFT (Go; a minute the first time)"
	@cd chain && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags='-s -w' -o ../$@ .
	@touch $@

demo: setup
	$(BIN)/fondaco demo

test: setup system chain
	cargo test --locked --quiet --workspace --exclude fondaco-binding
	cd chain && CGO_ENABLED=0 go test ./...
	$(BIN)/pytest --junitxml=$(STAMPS)/tests.xml

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cargo fmt --all --check
	cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
	@if command -v go >/dev/null; then cd chain && test -z "$$(gofmt -l .)" && go vet ./...; fi

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt --all

bench-pir: setup
	$(BIN)/python bench/bench_pir.py

# Its rows stand beside those of bench-pir in bench/results/pir.json.
bench-pir-large: setup
	$(BIN)/python bench/bench_pir.py --records 10000000

docs: setup
	$(BIN)/python tools/reference.py

# Half an hour of failures, each followed by a check that nothing was lost; test has a short form.
network-test: setup system chain
	$(BIN)/pytest -p no:randomly -s tests/network/long_network.py

# The ledger alone: embedded, and four validators on this machine beside CometBFT's own kvstore.
bench-ledger: setup chain
	$(BIN)/python bench/bench_ledger.py 100000
	$(BIN)/python bench/bench_ledger_state.py
	$(BIN)/python bench/bench_ledger_network.py
	$(BIN)/python bench/bench_ledger_network.py --anew

bench-psi: setup
	$(BIN)/python bench/bench_psi.py
	# What `explain` tells of the cost is held against this record.
	$(BIN)/python -m pytest -q tests/engines/test_engines_estimates.py

# Some minutes, 4 GiB for each side and 12 GB of disk more.
bench-psi-large: setup
	$(BIN)/python bench/bench_psi.py --part large

# What takes minutes has a target of its own: bench-ledger, bench-psi, bench-pir.
bench: setup
	@for one in import gate ledger; do echo "== $$one"; $(BIN)/python bench/bench_$$one.py; done

# Locks name versions and hashes, no host: pip and uv find the files wherever this machine is told to look.
LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11
lock:
	$(BIN)/$(LOCK) --group pyproject.toml:bootstrap -o bootstrap.lock
	$(BIN)/$(LOCK) --all-extras --group dev pyproject.toml -o requirements.lock
