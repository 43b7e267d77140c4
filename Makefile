# `make help` lists what there is. `make demo` and `make test` need only Python 3.11 to 3.13, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup lock up down demo check docs format test unit faults soak ci bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv and install the locked packages

$(STAMP): requirements.lock requirements-bootstrap.lock pyproject.toml
	@date +%s%N > .venv-started
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock 2>&1 | { grep -v '^WARNING: Location' || true; }
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@echo $$(( ($$(date +%s%N) - $$(cat .venv-started)) / 1000000 )) > .venv/.setup-milliseconds; rm .venv-started
	@touch $@

lock:  ## Resolve the dependencies again into requirements.lock (no host names)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url -q --custom-compile-command "make lock" -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements.lock --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url -q --custom-compile-command "make lock" -o deploy/requirements.lock
	echo hatchling | $(BIN)/uv pip compile - -c requirements.lock --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url -q --custom-compile-command "make lock" -o deploy/build.lock
	echo 'uv==0.13.9' | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url -q --custom-compile-command "make lock" -o requirements-bootstrap.lock

up: setup  ## Start the whole platform on this machine (Ctrl-C stops it)
	@$(BIN)/carrara up $(ARGS)

down: setup  ## Stop the platform that runs in ./.carrara
	@$(BIN)/carrara down $(ARGS)

demo: export DEMO_STARTED := $(shell date +%s%N)
demo: setup  ## The whole story on real data; KEEP=1 leaves the platform running
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep) $(ARGS)

check: setup  ## Lint, format, types, imports, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house.check_sizes
	$(BIN)/python -m tests.house.render_docs --check
	$(BIN)/python -m deploy.render --check

docs: setup  ## Render the reference pages and deploy/ from the code
	$(BIN)/python -m tests.house.render_docs
	$(BIN)/python -m deploy.render

format: setup  ## Format the code
	$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

unit: setup  ## Only the fast tests
	$(PYTEST) tests/unit -n $(WORKERS) -q $(ARGS)

test: setup  ## Every test but the faults and soaks
	$(PYTEST) tests -m "not faults and not soak" -n $(WORKERS) --dist loadgroup -q $(ARGS)

faults: setup  ## Real kills and restarts on the embedded stack
	$(PYTEST) tests/faults -m faults -n $(WORKERS) --dist loadgroup -q $(ARGS)

soak: setup  ## Minutes to hours of steady work with random faults
	$(PYTEST) tests -m soak -q $(ARGS)

ci: check test faults  ## What CI runs

bench: setup  ## Every benchmark; the figures go into benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## Remove .venv and caches (never your data in .carrara)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
