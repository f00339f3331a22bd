PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/.installed-dev

# These settings of a caller would send an install past the venv; an index or find-links of theirs stays in force.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PIP_PREFIX PIP_TARGET

.DEFAULT_GOAL := help
# A half-made venv must not pass for a whole one.
.DELETE_ON_ERROR:
.PHONY: help run serve test check acceptance bench docs coverage constraints clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.installed-run ## Start the demo (ARGS="..." passes options)
	$(BIN)/sojourn demo $(ARGS)

serve: $(VENV)/.installed-run ## Serve the demo agent over HTTP (ARGS="agent.yml --port 8700")
	$(BIN)/sojourn serve $(ARGS)

test: $(TOOLS) ## Run the tests (PYTEST_ARGS="-k name" passes options)
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(PYTEST_ARGS)

check: $(TOOLS) ## Lint, formatting, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

acceptance: $(TOOLS) ## Run the tests that drive a real process
	$(BIN)/python -m pytest -q -m acceptance tests/acceptance $(PYTEST_ARGS)

bench: $(TOOLS) ## Run the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(TOOLS) ## Run the snippets of README.md and docs/, and the tests about them
	$(BIN)/python -m pytest -q tests/docs $(wildcard README.md docs) $(PYTEST_ARGS)

coverage: $(TOOLS) ## Run the tests and show what they miss
	$(BIN)/coverage run -m pytest -q $(PYTEST_ARGS)
	$(BIN)/coverage report

constraints: python-version ## Pin every package anew, from a clean venv
	tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(PYTHON) -m venv "$$tmp" && \
	"$$tmp/bin/python" -m pip install -q '.[dev]' && \
	"$$tmp/bin/python" -m pip freeze --exclude sojourn > "$$tmp/frozen" && \
	{ echo '# Made by `make constraints`.'; LC_ALL=C sort -f -t= -k1,1 "$$tmp/frozen"; } > constraints.txt

clean: ## Remove the venv and every cache
	rm -rf $(VENV) dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: python-version
python-version:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Sojourn needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'

$(BIN)/python: | python-version
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: pyproject.toml constraints.txt $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(TOOLS): pyproject.toml constraints.txt $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
