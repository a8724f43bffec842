# `make` lists what there is. The first target that needs it builds .venv from the hashed lock; nothing else is asked for.

# The first of these that is new enough and can make an environment; `make PYTHON=/path/to/python3.12 setup` takes
# another. The system's own first: a distribution builds it with what a profile found, and pyenv's default does not,
# whose worker takes 1.1 to 1.3 times as much of a processor (docs/benchmarks.md).
CANDIDATES := /usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.14
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV_LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# What a target starts ends with it, also after kill -9.
demo test check unit integration bench chaos fuzz mutants: export NEXTBEST_DIE_WITH_PARENT = 1

.DEFAULT_GOAL := help
.PHONY: help setup fmt lint types imports unit sim chaos fuzz mutants integration test check demo bench bench-core bench-backlog bench-memory soak docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the hashed lock (again only when the lock changed)
	@set -e; \
	if ! cmp -s requirements-dev.lock .venv/installed.lock || ! $(BIN)/python -c '' 2>/dev/null; then \
	  for python in $(or $(PYTHON),$(CANDIDATES)); do \
	    "$$python" -c '$(NEW_ENOUGH)' 2>/dev/null || continue; \
	    found=$$python; made=; rm -rf .venv; \
	    "$$python" -m venv .venv >/dev/null 2>&1 && made=1 && break; \
	    rm -rf .venv; \
	    { "$$python" -m venv --without-pip .venv && "$$python" -m pip --python $(BIN)/python install --quiet pip; } \
	      >/dev/null 2>&1 && made=1 && break; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make setup needs Python 3.11 or newer, and none of these is: $(or $(PYTHON),$(CANDIDATES))." \
	         "Install one, or name it: make PYTHON=/path/to/python3.12 setup" >&2; exit 1; \
	  fi; \
	  if [ -z "$$made" ]; then \
	    rm -rf .venv; echo "'$$found' can make no virtual environment. Install its venv module" \
	      "(Debian, Ubuntu: apt install python3-venv), or name another: make PYTHON=... setup" >&2; exit 1; \
	  fi; \
	  echo "Making .venv with $$($(BIN)/python -V), one to three minutes"; \
	  $(PIP) install --quiet --only-binary :all: --require-hashes -r requirements-dev.lock; \
	  cp requirements-dev.lock .venv/installed.lock; \
	fi; \
	if ! cmp -s pyproject.toml .venv/installed.toml; then \
	  $(PIP) install --quiet --no-deps --no-build-isolation --editable .; \
	  cp pyproject.toml .venv/installed.toml; \
	fi

fmt: setup ## sort imports and make every safe fix
	@$(BIN)/ruff check --fix --quiet .

lint: setup ## ruff, and what nothing uses
	@$(BIN)/ruff check .
	@$(BIN)/vulture

types: setup ## mypy, strict
	@$(BIN)/mypy

imports: setup ## who may import whom
	@$(BIN)/lint-imports --no-logo

unit: setup ## the tests that need no broker
	@exec $(BIN)/pytest -m "not broker"

sim: setup ## fault simulation: 10,000 seeds; make sim SEED=123 tells one
	@exec $(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED))

chaos: setup ## the same promises on a real broker under attack, 8 minutes: make chaos ARGS="--requests 2000 --kills 3"
	@exec $(BIN)/python -m tests.chaos $(ARGS)

fuzz: setup ## odd inputs at a running installation, 15 minutes: make fuzz ARGS="--minutes 2 --seed 7"
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

mutants: setup ## do the tests notice small bugs? 400 planted at random: make mutants ARGS="--sample 100 --only core/decide/caps.py"
	@exec $(BIN)/python -m tests.mutation $(ARGS)

integration: setup ## the tests on a real broker (NEXTBEST_TEST_BROKER=embedded, testcontainers or HOST:PORT)
	@exec $(BIN)/pytest -m broker

check: lint types imports ## everything that must hold: lint, types, imports, all tests in two processes
	@$(BIN)/pytest --numprocesses 2 --dist loadgroup
	@$(BIN)/python -m tests.left_out

test: check ## the same as check

demo: setup ## the main job on real data, on a broker of its own
	@exec $(BIN)/nextbest demo

bench: setup ## latency and throughput beside a bare echo and Quix Streams; writes bench/results/latest.json
	@exec $(BIN)/python -m bench

bench-core: setup ## decide() alone at 10, 100 and 1,000 offers: time, allocations, and where the time goes
	@exec $(BIN)/python -m bench.decide --profile

bench-backlog: setup ## decisions while a million events are worked off, beside decisions without a backlog
	@exec $(BIN)/python -m bench.backlog $(ARGS)

soak: setup ## people who keep coming back, 25 minutes: latency, bytes, memory; with a plot
	@exec $(BIN)/python -m bench.soak $(ARGS)

bench-memory: setup ## what a worker with a million profiles keeps resident
	@exec $(BIN)/python -m bench.memory $(ARGS)

docs: setup ## write the generated pages and parts of the documentation anew
	@$(BIN)/python -m docs.generate && $(BIN)/python -m tests.core.behaviour_page

lock: setup ## lock the dependencies and the broker's jars again, with hashes
	@$(UV_LOCK) --output-file requirements.lock pyproject.toml
	@$(UV_LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@printf 'hatchling\neditables\n' | $(UV_LOCK) --constraint requirements-dev.lock --output-file requirements-build.lock -
	@$(UV_LOCK) --output-file bench/requirements-quix.lock bench/requirements-quix.in
	@$(BIN)/python -m pipeline.local.jars

clean: ## remove everything that was made here, .venv included
	@rm -rf .venv .venv-quix .nextbest dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis mutants
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
