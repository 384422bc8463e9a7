# make install   .venv with evse-node in it          make test    all tests
# make run       install, then start a node (ARGS)   make check   ruff, mypy, import-linter, unit tests
# make bench     the node against matter.js          make interop-env   other projects' controllers
# make test-hw   only the tests in a virtual machine with a real GPIO device

# Prefer the system's Python: it is built with profile-guided optimization and needs a quarter less
# CPU time than one that a version manager compiles.
SYSTEM_PYTHON := /usr/bin/python3
IS_USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell $(SYSTEM_PYTHON) -c '$(IS_USABLE)' 2>/dev/null && echo $(SYSTEM_PYTHON) || echo python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := install
.PHONY: install run test test-hw check bench interop-env clean

install: $(VENV)/.compiled

# Bytecode in advance, so that the first start is as fast as all others.
$(VENV)/.compiled: $(VENV)/.installed $(shell find evse_node -name '*.py')
	@$(BIN)/python -m compileall -q evse_node
	@touch $@

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evse-node needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable . --config-settings editable_mode=compat
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]' --config-settings editable_mode=compat
	@touch $@

run: install
	@exec $(BIN)/evse-node run $(ARGS)

test: install $(VENV)/.tested
	$(BIN)/pytest $(PYTEST_ARGS)

# The GPIO backend on a Linux kernel in QEMU: see tests/hw.
test-hw: install $(VENV)/.tested
	$(BIN)/pytest tests/hw $(PYTEST_ARGS)

check: install $(VENV)/.tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit $(PYTEST_ARGS)

bench: install $(VENV)/.tested interop-env
	$(BIN)/python -m benchmarks.compare $(ARGS)

interop-env: $(VENV)/.installed
	$(BIN)/python tests/interop/environment.py

clean:
	rm -rf $(VENV) .interop .hw .mypy_cache .ruff_cache .pytest_cache .hypothesis
