# Every target does all the set-up it needs, in a .venv of its own. Override on the command line: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml examples/*/pyproject.toml)
READY := $(VENV)/.ready
SOURCES := detzoo plugins tests $(wildcard benchmarks examples)
# Those that need no data but their own; the others name what they need in their first lines.
BENCHMARKS := benchmarks/startup.py benchmarks/loader.py benchmarks/ssd_postprocess_and_loss.py benchmarks/ssd_speed.py \
	benchmarks/rcnn_postprocess.py benchmarks/rcnn_speed.py benchmarks/rcnn_memory.py \
	benchmarks/retinanet_speed.py benchmarks/focal_loss.py benchmarks/yolo_speed.py \
	benchmarks/rcnn_profile.py benchmarks/mining_memory.py benchmarks/proposals_make.py benchmarks/evaluator.py
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# One thread per process, or they would fight for cores; a file's tests stay in one process, whose fixtures they share.
WORKERS := $(shell expr $(JOBS) / 2)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(if $(filter 0 1,$(WORKERS)),,-n $(WORKERS) --dist loadfile)
# Two halves that take about as long, types being the first part of the second. What numba compiles stands in the first,
# so that it is compiled once.
FIRST_HALF := tests plugins/detzoo-rcnn --ignore=tests/testing --ignore=tests/export --ignore=tests/foreign
SECOND_HALF := tests/testing tests/export tests/foreign plugins $(wildcard examples) --ignore=plugins/detzoo-rcnn
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint types unit first-half second-half test-all campaign bench docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## own .venv with detzoo and its plugins, editable; at once when nothing changed

# The stamp is older than a pyproject.toml only when something must be installed.
$(READY): pyproject.toml $(PLUGINS)
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; detzoo needs Python 3.11 or newer: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"make: $(PYTHON) is Python {v[0]}.{v[1]}; detzoo needs 3.11 or newer: make setup PYTHON=python3.11")'
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }; }
	@echo "Installing detzoo and $(words $(PLUGINS)) plugin(s); the first time this fetches PyTorch (minutes) ..."
	@$(BIN)/python -m pip install --quiet --progress-bar on -e '.[dev,docs,timm,tensorboard,onnx,faster,ray]' $(foreach plugin,$(PLUGINS),-e $(dir $(plugin)))
	@touch $(READY)

demo: setup  ## train, evaluate, benchmark and compare two detectors on generated images (minutes)
	@$(BIN)/detzoo demo --out demo

test: lint  ## set-up, lint, types, tests (some 8 minutes on two cores, after the set-up)
	@$(MAKE) --no-print-directory -j2 first-half types second-half

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy $(filter-out plugins examples,$(SOURCES))
	@for plugin in $(dir $(PLUGINS)); do $(BIN)/mypy $$plugin || exit 1; done  # each is a distribution, with a tests/conftest.py of its own

unit:  ## the tests alone
	@$(MAKE) --no-print-directory -j2 first-half second-half

first-half: setup
	@$(PYTEST) $(FIRST_HALF)

second-half: setup
	@$(PYTEST) $(SECOND_HALF)

test-all: lint types  ## test, and the slow tests too
	@$(BIN)/python -m pytest -m "slow or not slow"

campaign: setup  ## 50,000 damaged recipes, datasets, images, weights and results (SEED=1 INPUTS=5000); findings in runs/campaign/
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaign $(if $(SEED),--seed $(SEED)) $(if $(INPUTS),--inputs $(INPUTS))

bench: setup  ## the numbers of docs/results, measured on this machine
	@for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

docs: setup  ## the site, in site/; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove what make made, the .venv too
	rm -rf $(VENV) demo build dist site .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
