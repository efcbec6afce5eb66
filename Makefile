# Each target sets itself up from nothing: Python 3.11, make, a C compiler and cargo are all that is needed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
STAMPS := .stamps
RUST := $(shell find crates Cargo.toml Cargo.lock -name target -prune -o -type f -print)

.PHONY: help setup system demo test lint bench bench-pir docs lock format

help:
	@echo "make demo    four institutions on this machine, from import to audit"
	@echo "make test    every test"
	@echo "make lint    every check of style, types and imports"
	@echo "make bench   every benchmark; results in bench/results"
	@echo "make bench-pir  hidden queries of a million records"
	@echo "make format  put every file in the form that lint asks for"
	@echo "make docs    write docs/reference from the code"
	@echo "make lock    renew bootstrap.lock and requirements.lock from pyproject.toml"

# The stamps of the environment live in it, so that removing .venv is all it takes to start anew.
.venv/synced: bootstrap.lock requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11, or make PYTHON=path" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@touch $@

.venv/built: .venv/synced pyproject.toml $(RUST)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.89 or later" >&2; exit 1; }
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
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

demo: setup
	$(BIN)/fondaco demo

test: setup system
	cargo test --locked --quiet --workspace --exclude fondaco-binding
	$(BIN)/pytest --junitxml=$(STAMPS)/tests.xml

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cargo fmt --all --check
	cargo clippy --locked --quiet --workspace --all-targets -- -D warnings

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt --all

bench-pir: setup
	$(BIN)/python bench/bench_pir.py

docs: setup
	$(BIN)/python tools/reference.py

bench: setup
	@for one in bench/bench_*.py; do echo "== $$one"; $(BIN)/python $$one; done

# Locks name versions and hashes, no host: pip and uv find the files wherever this machine is told to look.
LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11
lock:
	$(BIN)/$(LOCK) --group pyproject.toml:bootstrap -o bootstrap.lock
	$(BIN)/$(LOCK) --all-extras --group dev pyproject.toml -o requirements.lock
