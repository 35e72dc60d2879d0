# All of it works from a bare clone with Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps

.DEFAULT_GOAL := help
.PHONY: help demo test lint format clean

help:  ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# the lock is complete, so nothing is resolved: what is installed is what was tested
$(VENV)/installed: $(VENV)/made requirements.lock setup.cfg pyproject.toml
	@echo "Installing the pinned packages (about 1.5 GB on disk; some minutes the first time) ..."
	$(PIP) -r requirements.lock
	$(PIP) setuptools wheel
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/installed requirements-dev.lock
	@echo "Installing the tools for tests and lint ..."
	$(PIP) -r requirements-dev.lock
	@touch $@

demo: $(VENV)/installed  ## Run the first ablation on real text, a few minutes, and print its table
	@$(BIN)/ulmfit-lab sweep word2vec_vs_lm --scale demo --workers 2

test: $(VENV)/dev lint  ## Lint, then run the tests
	@$(BIN)/python -m pytest -q

lint: $(VENV)/dev  ## Check style and types
	@$(BIN)/ruff check ulmfit_lab experiments tests
	@$(BIN)/ruff format --check ulmfit_lab experiments tests
	@$(BIN)/mypy

format: $(VENV)/dev  ## Put the code into the house's format
	@$(BIN)/ruff check --fix ulmfit_lab experiments tests
	@$(BIN)/ruff format ulmfit_lab experiments tests

clean:  ## Remove the environment and caches, but no runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
