# Everything a person needs; a machine with Python 3.11 (or newer) and make is enough.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
UV := $(or $(shell command -v uv),.venv-uv/bin/uv)
BIN := .venv/bin
READY := .venv/.ready
RIVALS := .venv-rivals/.ready

DIR = docs
Q =
ONCE =
ONLY =
JSON =
ARGS =
N = 500
SEED =
BESIDE =
EXAMPLES = 100
export DIR Q ONLY N SEED BESIDE EXAMPLES

.PHONY: help setup demo test browser property chaos check format bench lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Make .venv from requirements.lock; every other target does it when needed

demo: $(READY) ## Index DIR [docs], search it for Q; ONCE=1 exits after that
	@$(BIN)/python -m app.cli.demo $(if $(ONCE),--once) --query "$$Q" -- "$$DIR"

test: $(READY) browser ## Run the whole test suite on all cores; ARGS are pytest's, ARGS="-n 0" is one process
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

property: $(READY) ## EXAMPLES random histories [100] of a collection, each step compared with a simple model
	VECLOOM_TEST_EXAMPLES="$$EXAMPLES" $(BIN)/python -m pytest tests/property -n 0 $(ARGS)

chaos: $(READY) ## N random faults [500] among real processes, then every promise is checked; SEED=S repeats a plan; BESIDE=DIR mixes versions
	@$(BIN)/python -m tests.chaos --faults "$$N" $(if $(SEED),--seed "$$SEED") $(if $(BESIDE),--beside "$$BESIDE")

check: $(READY) ## Lint, formatting, types, layers, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry app migrations

format: $(READY) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY) $(if $(filter side-by-side ingest-limit,$(ONLY)),$(RIVALS)) ## Run the benchmarks; ONLY=NAME runs one, JSON=1 prints only JSON
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only "$$ONLY") $(if $(JSON),--json)

lock: $(UV) ## Resolve pyproject.toml again into requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --group rivals \
		--custom-compile-command "make lock" --output-file requirements-rivals.lock

$(READY): requirements.lock pyproject.toml | $(UV)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Vecloom needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Tests of the page need one. Where it cannot be had they are skipped, unless VECLOOM_TEST_BROWSER=required.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name >/dev/null && exit 0; done; \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null 2>&1 \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null 2>&1; } \
		|| echo "no Chromium here, and it could not be installed with apt: tests of the page are left out" >&2

# Other systems that one benchmark measures. Copies, not links: one of their libraries refuses files with two names.
$(RIVALS): requirements-rivals.lock | $(UV)
	@test -x .venv-rivals/bin/python || $(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv-rivals
	@$(UV) pip sync --quiet --link-mode copy --python .venv-rivals/bin/python --require-hashes requirements-rivals.lock
	@touch $@

# uv in a private environment of its own: nothing outside this folder changes, and no system Python refuses it.
.venv-uv/bin/uv:
	@"$(PYTHON)" -m venv .venv-uv || { \
		echo "'$(PYTHON) -m venv' does not work here: install your system's python3-venv package, or uv itself" >&2; \
		rm -rf .venv-uv; exit 1; }
	@echo '*' > .venv-uv/.gitignore
	.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@touch $@
