# The commands of Kontor. `make help` lists them; CI runs these very targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python tools/uv.py
DESCRIPTORS := protos/gen/kontor/descriptors.binpb

# Every folder with a pyproject.toml is a distribution of its own.
DISTRIBUTIONS := $(patsubst %/pyproject.toml,%,$(wildcard $(addsuffix /pyproject.toml,kit protos services/* gateway dev)))
# The folders too: their time changes when a proto is removed.
PROTOS := $(shell find protos/kontor -type d -o -name '*.proto')

# Read late, so that only the target that needs a Python looks for one. 3.11 is what CI runs.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)
ARGS ?=

##@ Start here

.PHONY: help
help: ## Print the targets
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(DESCRIPTORS) ## Prepare everything: virtual environment, locked dependencies, generated code

.PHONY: run
run: setup ## Start the whole platform on this machine (ARGS="--port 9080 --data /some/folder")
	$(BIN)/kontor dev up $(ARGS)

.PHONY: demo
demo: setup ## Play the story that goes through all services, on a platform of its own
	$(BIN)/kontor dev story $(ARGS)

.PHONY: test
test: setup ## Run all tests (ARGS="-k word" for some)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: check
check: setup format lint types imports tree contract breaking migrations values locks licences audit ## Run all static checks, as CI and pre-commit do

##@ One check each

.PHONY: format
format: setup ## Is the code formatted?
	$(BIN)/ruff format --check --quiet

.PHONY: lint
lint: setup ## Lint the Python code
	$(BIN)/ruff check --quiet

.PHONY: types
types: setup ## Check the types
	$(BIN)/mypy

.PHONY: imports
imports: setup ## Check who may import whom
	$(BIN)/lint-imports --no-logo

.PHONY: tree
tree: setup ## Is the tree as a whole in order: names, generated files, lists of services?
	$(BIN)/python -m tools.tree

.PHONY: contract
contract: setup ## Lint the protos
	$(BIN)/buf lint $(DESCRIPTORS)

.PHONY: breaking
breaking: setup ## Do the protos break clients of the last release (before the first: of the parent commit)?
	$(BIN)/python -m tools.breaking

.PHONY: migrations
migrations: setup ## Does a migration lock a large table, or take away what the version before needs?
	$(BIN)/python -m tools.migrations

.PHONY: values
values: setup ## Do README and schema of each chart say what its values are?
	$(BIN)/python -m tools.charts --check

.PHONY: locks
locks: setup ## Do the lock files belong to the pyproject.toml files?
	$(BIN)/python -m tools.lock --check

.PHONY: licences
licences: setup ## May we ship under the licences of the dependencies?
	$(BIN)/pip-licenses --summary --output-file $(VENV)/licences.txt

.PHONY: audit
audit: setup ## Are vulnerabilities of the locked dependencies known?
	$(BIN)/python -m tools.audit

##@ Work

.PHONY: fix
fix: setup ## Format the code and mend what the linter can mend
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet

.PHONY: protos
protos: $(DESCRIPTORS) ## Generate code and descriptor set from the protos

.PHONY: lock
lock: $(VENV)/bootstrap.stamp ## Lock the dependencies anew (ARGS=--upgrade for newer versions)
	$(BIN)/python -m tools.lock $(ARGS)

.PHONY: bench
bench: setup ## Measure requests per second against the bare yardstick
	$(BIN)/python tests/load/bench.py $(ARGS)

.PHONY: conversion-long
conversion-long: setup ## Kill every process at every step of the conversion of a lead; is it all there, or nothing?
	KONTOR_CONVERSION_LONG=1 $(BIN)/pytest -n 0 -q -s tests/e2e/test_conversion.py

.PHONY: story-long
story-long: setup ## Play the story, over both transports, and kill every process at every step; is it the same story?
	KONTOR_STORY_LONG=1 $(BIN)/pytest -n 0 -q -s tests/e2e/test_story.py $(ARGS)

.PHONY: campaign-long
campaign-long: setup ## Send a campaign to 5,000 while processes are killed; does everyone have it once?
	CAMPAIGN_PARTIES=5000 CAMPAIGN_KILLS=10 CAMPAIGN_SECONDS=600 $(BIN)/pytest -n 0 -q -s tests/sending $(ARGS)

.PHONY: faults
faults: setup ## Kill processes at random under a load of writes; is anything lost or repeated?
	$(BIN)/python -m tests.faults.run $(ARGS)

.PHONY: rolling
rolling: setup ## Restart every service in turn under load; does a request fail?
	KONTOR_ROLLING=1 $(BIN)/pytest -n 0 -q -s tests/upgrade/test_rolling.py $(ARGS)

.PHONY: restore
restore: setup ## Move a tenant to an empty platform; is each record what it was?
	KONTOR_RESTORE=1 $(BIN)/pytest -n 0 -q -s tests/restore/test_restore.py $(ARGS)

.PHONY: clean
clean: ## Remove what was built; the data in .kontor stays
	rm -rf $(VENV) .build protos/gen .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Kubernetes

.PHONY: charts
charts: setup ## Render, lint and check every Helm chart with all of its values, with what that needs
	$(BIN)/python -m tools.helm
	$(BIN)/python -m tools.crds
	$(BIN)/python -m tools.charts
	CI=true $(BIN)/pytest --numprocesses 2 -q tests/charts $(ARGS)

.PHONY: images
images: setup ## Build the images (ARGS="contacts gateway" for some)
	$(BIN)/python -m tools.images build $(ARGS)

.PHONY: images-sbom
images-sbom: setup ## Write down what is in the images, as CycloneDX (ARGS="contacts gateway" for some)
	$(BIN)/python -m tools.images sbom $(ARGS)

.PHONY: images-run
images-run: setup ## Play the story on the images alone, and stop them under load
	KONTOR_IMAGES=1 $(BIN)/pytest -n 0 -q -s tests/images $(ARGS)

# What follows is made once and again only when what it is made of has changed.

$(VENV)/bootstrap.stamp: locks/bootstrap.txt
	@test -n "$(PYTHON)" || { echo "Kontor needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r locks/bootstrap.txt
	@touch $@

# Our own distributions follow without dependencies and without an isolated build: nothing unlocked is fetched.
$(VENV)/packages.stamp: $(VENV)/bootstrap.stamp locks/dev.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	$(UV) pip sync --quiet --require-hashes locks/dev.txt
	$(UV) pip install --quiet --offline --no-deps --no-build-isolation $(addprefix --editable ,$(DISTRIBUTIONS))
	@touch $@

$(DESCRIPTORS): $(VENV)/packages.stamp protos/build.py $(PROTOS)
	$(BIN)/python protos/build.py
	@touch $@
