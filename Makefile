# make install   .venv with evse-node in it          make test    all tests
# make run       install, then start a node (ARGS)   make check   ruff, mypy, import-linter, unit tests
# make bench     the node against matter.js          make interop-env   other projects' controllers

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := install
.PHONY: install run test check bench interop-env clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evse-node needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

run: install
	@exec $(BIN)/evse-node run $(ARGS)

test: $(VENV)/.tested
	$(BIN)/pytest $(PYTEST_ARGS)

check: $(VENV)/.tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit $(PYTEST_ARGS)

bench: $(VENV)/.tested interop-env
	$(BIN)/python -m benchmarks.compare $(ARGS)

interop-env: $(VENV)/.tested
	$(BIN)/python tests/interop/environment.py

clean:
	rm -rf $(VENV) .interop .mypy_cache .ruff_cache .pytest_cache .hypothesis
