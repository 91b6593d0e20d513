# What a person runs. `make help` lists it. Needs Python >= 3.11 and make, nothing else.
#
# Everything is installed into .venv with pip; a stamp file there for each extra says that it is
# installed, so a second run installs nothing. Where the home folder cannot be written, every cache
# goes to .cache in this folder, and pip keeps none.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=
RUN ?= runs/demo
APT ?= apt-get

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed

ifneq ($(shell test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME := $(CURDIR)/.cache
export XDG_CONFIG_HOME := $(CURDIR)/.cache/config
export XDG_DATA_HOME := $(CURDIR)/.cache/data
export npm_config_cache := $(CURDIR)/.cache/npm
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
# pip asks rustc for its version, and a rustc of rustup writes its settings when it is asked.
export RUSTUP_HOME := $(CURDIR)/.cache/rustup
export PIP_NO_CACHE_DIR := 1
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The workers of pytest already fill the cores; the BLAS of each may not do so once more.
PYTEST := OPENBLAS_NUM_THREADS=1 $(PY) -m pytest --dist loadgroup
NEEDED_ELSEWHERE := peers or slow or browser

.PHONY: help demo test slow peers browser lint format types layers docs bench clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(STAMP)-train ## install, train on the embedded digits, print the result, the report's path and scikit-learn's time
	$(BIN)/backpass train digits --output $(RUN) --overwrite
	@$(PY) -m benchmarks.fit_step --digits

test: $(STAMP)-test ## install the test extra and run the tests (ARGS="-k name" for some of them)
	$(PYTEST) -n $(WORKERS) -m "not ($(NEEDED_ELSEWHERE))" $(ARGS)

slow: $(STAMP)-test ## run the tests that take long
	$(PYTEST) -n $(WORKERS) -m "slow and not peers and not browser" $(ARGS)

peers: $(STAMP)-test $(STAMP)-peers ## compare with PyTorch, JAX and HIPS autograd
	JAX_PLATFORMS=cpu $(PYTEST) -n $(WORKERS) -m "peers" $(ARGS)

browser: $(STAMP)-test ## run the tests that look at a report in headless Chromium
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  if command -v $(APT) >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    $(APT) update -q && $(APT) install -q -y --no-install-recommends chromium; \
	  else echo "make browser: no Chromium found; install it (apt-get install chromium)" >&2; exit 1; fi; }
	$(PYTEST) -m "browser" $(ARGS)

lint: $(STAMP)-lint ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)-lint ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)-lint $(STAMP)-test ## pyright: strict on ir, loops, prims, passes, codegen; basic elsewhere
	$(BIN)/pyright --warnings --project pyproject.toml

layers: $(STAMP)-lint $(STAMP)-train ## import-linter: imports only point down
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)-docs ## build docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

bench: $(STAMP)-test $(STAMP)-peers ## measure beside PyTorch and JAX, write docs/benchmarks.md (ARGS="--quick")
	$(PY) -m benchmarks.run $(ARGS)
	@shopt -s nullglob; for file in benchmarks/bench_*.py; do echo "== $$file"; $(PY) "$$file"; done

clean: ## remove what was built and installed here (runs/ stays)
	rm -rf $(VENV) .cache build dist docs/_build .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An extra is installed once, and again when pyproject.toml has changed.
$(STAMP)-%: pyproject.toml | $(PY)
	$(PY) -m pip install -q -e '.[$*]'
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  f"backpass needs Python 3.11 or later, and $(PYTHON) is {sys.version.split()[0]}; try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
