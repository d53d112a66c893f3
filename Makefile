# wfnb: everything a person or a machine runs. `make help` lists it.
# Needs Python 3.11 to 3.13 with venv, make and git; no Node, no root, no servers.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_STAMP := $(VENV)/.installed-all
DEV_STAMP := $(VENV)/.installed-dev

# Extra arguments for pytest: make test ARGS="-k folds -x"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types ui ui-test unit chaos format bench shots hooks clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(DEMO_STAMP) ## Run the quickstart notebook here and print what it gives
	@$(BIN)/python notebooks/run_demo.py notebooks/01-quickstart.ipynb

test: lint types ui-test unit ## Everything that must hold: lint, types, tests and notebooks

lint: $(DEV_STAMP) ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP) ## Types, strictly
	$(BIN)/mypy

UI_BUILT := wfnb/views/static/widget.js
UI_SOURCES := $(wildcard extensions/*.json extensions/*.mjs extensions/ui/src/*.ts extensions/widget/src/*.ts extensions/lab/src/*.ts)

ui: $(UI_BUILT) ## Build what browsers are sent, from extensions

$(UI_BUILT): $(UI_SOURCES) | $(DEV_STAMP)
	@$(BIN)/python extensions/npm.py

ui-test: $(UI_BUILT) ## Types and tests of what browsers are sent
	@$(BIN)/python extensions/npm.py check test

# One pytest for tests and notebooks, so that its last line tells the whole story.
unit: $(DEV_STAMP) $(UI_BUILT) ## Tests and notebooks
	@$(BIN)/python -m pytest --nbval-lax --nbval-current-env tests $(wildcard notebooks/*.ipynb) $(ARGS)

chaos: $(DEV_STAMP) ## Kill processes at random, again and again, and check what must hold (make chaos ARGS="--seeds 50")
	@$(BIN)/python -m tests.chaos $(ARGS)

format: $(DEV_STAMP) ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_STAMP) ## Measure beside peers, about 20 min (make bench ARGS="--only wide --runs 3 --peers joblib")
	$(BIN)/python -m benchmarks $(ARGS)

shots: $(DEV_STAMP) $(UI_BUILT) ## Take the screenshots of the documentation anew
	@$(BIN)/python -m tests.browser.shots

hooks: $(DEV_STAMP) ## Check style and types before each commit
	$(BIN)/pre-commit install

clean: ## Remove what these targets made
	rm -rf $(VENV) .venv-bench wfnb/views/static wfnb/labextension extensions/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find wfnb tests notebooks benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "wfnb needs Python 3.11 to 3.13, and '$(PYTHON)' is not on the path: install it, or name one with 'make PYTHON=python3.12 ...'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "wfnb needs Python 3.11 to 3.13, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another with 'make PYTHON=python3.12 ...'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: on Debian and Ubuntu 'sudo apt install python3-venv' brings it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO_STAMP): pyproject.toml | $(BIN)/python
	@echo "installing wfnb[all] into $(VENV) (a minute or so, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]"
	@touch $@

# The dev extra holds all of [all]: its stamp serves the demo too.
$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "installing wfnb[dev] into $(VENV) (a minute or so, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(DEMO_STAMP)
