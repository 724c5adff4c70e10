# Every target sets up what it needs. `make help` explains them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
RUN := PYTHONPATH=operator:. $(PYTHON)
CHART := charts/cube-oauth-operator
HELM = $$($(RUN) -m tests.cluster build helm | tail -n 1 | sed 's/^helm *//')
VALUES ?= examples/values.yaml

.PHONY: help setup demo demo-down test test-fast test-cube bench survive lint format crds reference pictures lock image manifests hooks clean

help:  ## Show what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: setup browser  ## Everything real on this machine: a node, the operator, Cube, Trino; alice's query runs as alice (root)
	@$(RUN) -m tests.e2e up

demo-down: setup  ## Remove what `make demo` left running
	@$(RUN) -m tests.e2e down

test: setup browser lint  ## All tests: unit, contract, control plane, and a node where one can run
	@$(RUN) -m pytest

test-fast: setup  ## Only what needs no cluster, no browser and no download
	@$(RUN) -m pytest -q tests/unit tests/contract -m "not control_plane and not node"

test-cube: setup  ## The hook's tests in another Cube with its drivers: VERSION=1.6, 1.5 or 1.3 (its packages: 600 MB, three minutes)
	@CUBE_VERSION=$(VERSION) $(RUN) -m pytest tests/hook

bench: setup  ## Measure (PARTS="rotation account": only these); the last lines are for machines: bench <name> <value> <limit> ok|short
	@$(RUN) -m tests.bench $(PARTS)

survive: setup  ## Kill, pause and refuse a controller at every await of 2,000 refreshes; a table of what was lost (20 min)
	@$(RUN) -m tests.survival

lint: setup  ## Formatting, lint, types and the import contracts
	@$(VENV)/bin/ruff format --check operator tests
	@$(VENV)/bin/ruff check operator tests
	@$(VENV)/bin/mypy
	@PYTHONPATH=operator $(VENV)/bin/lint-imports

format: setup  ## Format the code
	@$(VENV)/bin/ruff format operator tests
	@$(VENV)/bin/ruff check --fix operator tests

crds: setup  ## Generate the CustomResourceDefinitions from the models
	@$(RUN) -m cube_oauth.resources crds $(CHART)/files/crds

reference: setup  ## Generate the reference pages (reasons, providers) from the tables in the code
	@$(RUN) -m cube_oauth.providers docs/reference

pictures: setup browser  ## Make the pictures in README and docs anew, by the tests of the portal's pages
	@SCREENSHOTS=docs/images $(RUN) -m pytest -q tests/browser/test_pictures.py

manifests: setup  ## Render the chart as plain manifests for `kubectl apply` (VALUES=your-values.yaml)
	@mkdir -p manifests
	@$(HELM) template cube-oauth $(CHART) --namespace cube-oauth --values $(VALUES) > manifests/cube-oauth-operator.yaml
	@echo "manifests/cube-oauth-operator.yaml: kubectl create namespace cube-oauth; kubectl apply --server-side -f it"

image: setup  ## Build the image from the Dockerfile without Docker being required; prints its archive
	@$(RUN) -m tests.e2e image

lock: setup  ## Lock the requirements again, with hashes and without host names
	@for extra in "" "--extra dev"; do \
	  $(VENV)/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11 $$extra pyproject.toml \
	    --custom-compile-command "make lock" -o requirements$${extra:+-dev}.txt; done

hooks: setup  ## Install the pre-commit hooks
	@$(VENV)/bin/pre-commit install

clean:  ## Remove what was generated here (not the cache in ~/.cache/cube-oauth)
	@rm -rf $(VENV) manifests .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

setup: $(VENV)/ready

$(VENV)/ready: requirements-dev.txt
	@echo "setting up $(VENV) (about a minute)"
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# Debian's Chromium: the browser of the browser tests and the demo
.PHONY: browser
browser: setup
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { echo "installing chromium"; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; }; } \
	  || { echo "chromium is missing: install it (apt-get install chromium), or set CHROMIUM to a browser" >&2; [ -n "$$CHROMIUM" ]; }
