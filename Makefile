# Every target makes the environment in .venv itself when it is missing or when the pins have changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := $(VENV)/peers
ARGS ?=
ONLY ?=
SEEDS ?= 1
SEED ?=
JOBS ?= 0
WORKERS ?= 3

.PHONY: demo test lint-beside unit test-long scenarios crash soak lint up down bench env clean

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 13) else "HYDRA needs Python 3.11 or 3.12; run: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing HYDRA into $(VENV) (some minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --upgrade "pip<27"
	@$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	@$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt 2> $(VENV)/install.log || { cat $(VENV)/install.log; exit 1; }
	@touch $@

demo: env
	@$(BIN)/hydra demo $(ARGS)

up: env
	@$(BIN)/hydra up $(ARGS)

down: env
	@$(BIN)/hydra down $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The checks of `lint` run beside the tests: they need one core, and a checker without a cache more than a minute of it. What
# they say stands at the end where they are content, at once where they are not.
test: env
	@$(MAKE) --no-print-directory --jobs 2 lint-beside unit

lint-beside: env
	@$(MAKE) --no-print-directory lint > $(VENV)/lint.log 2>&1 && echo "lint: clean" || { cat $(VENV)/lint.log; exit 1; }

# Each file in one process, one process more than the two cores that this is measured on: many tests wait for others, not for
# a core, and they wait for outcomes, never for a time. Linear algebra keeps to one thread each: more of them wait for one another.
# Files go in their order: by number of tests the few dear ones of
# tests/e2e would come last, and the other processes would stand idle.
unit: env
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: lint
	$(BIN)/python -m pytest $(ARGS)

scenarios: env
	@$(BIN)/python -m tests.scenarios --only '$(ONLY)' --seeds $(SEEDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Kill the trader at random steps and start it again; the trader for 24 market hours at 60x through random faults.
crash: env
	@$(BIN)/python -m tests.crash $(ARGS)

soak: env
	@$(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.bench-ready
	@$(BIN)/python -m benchmarks $(ONLY) $(ARGS)

# Peers that only benchmarks need. One has pins that exclude ours and gets an environment of its own; where it cannot be
# installed its row is left out, with the reason.
$(VENV)/.bench-ready: $(VENV)/.ready benchmarks/peers.txt
	@echo "Installing the benchmarks' peers into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet -e '.[dev,bench]' -c constraints.txt 2> $(VENV)/install.log || { cat $(VENV)/install.log; exit 1; }
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet -r benchmarks/peers.txt && touch $@ || \
		{ rm -rf $(PEERS); echo "benchmarks/peers.txt cannot be installed here: event-driven replay is left out"; }

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
