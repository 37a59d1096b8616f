# Everything that is done with this repository, by name. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CODE := dnsworker tasks backends migrations
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup demo up stack servers test acceptance unit bench chaos fuzz lint format types docs build clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.worker: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[worker]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.worker

setup: $(VENV)/.dev ## a virtual environment with everything to develop with

demo: $(VENV)/.worker ## the whole system on this machine, no servers: a tour of two minutes at most
	$(BIN)/dnsworker demo

up: $(VENV)/.worker ## the embedded system in the foreground, until Ctrl-C
	$(BIN)/dnsworker up

servers: $(VENV)/.dev ## install the servers that the tests start (needs apt-get), or say what is missing
	$(BIN)/python -m dev.install

stack: servers ## real RabbitMQ, PostgreSQL, Redis, BIND, PowerDNS, workers, beat and Flower, until Ctrl-C
	$(BIN)/python -m dev.stack $(if $(DATABASE),--database $(DATABASE))

# Some at a time, each with servers of its own: tests wait more than they compute. Then the whole system, which
# needs more of the machine.
test: servers ## every test, against real servers that it starts and stops
ifeq ($(TESTS),tests)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/acceptance --ignore tests/chaos tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/acceptance tests/chaos
else
	$(BIN)/python -m pytest $(TESTS)
endif

acceptance: servers ## the tests of the whole system, on DATABASE=postgresql, mariadb or sqlite
	DNSWORKER_TEST_DATABASE=$(or $(DATABASE),postgresql) $(BIN)/python -m pytest tests/acceptance

unit: $(VENV)/.dev ## the tests that need no server
	$(BIN)/python -m pytest tests/unit

bench: servers ## measure the whole system beside its goals, an hour or two: PARTS='latency rates' (see bench/README.md)
	$(BIN)/python -m bench --to docs/performance $(PARTS)

chaos: servers ## break the whole system at random, check what it promises: SEED=7 DURATION=120 FAULTS=kill,pause SABOTAGE=fence
	$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(DURATION),--duration $(DURATION)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SABOTAGE),--sabotage $(SABOTAGE))

fuzz: $(VENV)/.dev ## what outsiders can send, by coverage, ten minutes a target: TARGET=rdata SECONDS=600
	$(PIP_INSTALL) -e '.[fuzz]'
	for target in $(or $(TARGET),$$($(BIN)/python -m tests.fuzz.targets)); do \
		$(BIN)/python -m tests.fuzz $$target --seconds $(or $(SECONDS),600) || exit 1; \
	done

lint: $(VENV)/.dev ## style, and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict docker-compose.yml deploy .yamllint.yaml
	$(BIN)/hadolint $(shell find deploy -name Dockerfile)

format: $(VENV)/.dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## mypy --strict over all code
	$(BIN)/mypy $(addprefix -p ,$(CODE))

docs: $(VENV)/.dev ## the documentation as a site in build/docs; a broken link fails
	$(BIN)/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs

build: $(VENV)/.dev ## the wheel, which holds the package dnsworker alone
	$(BIN)/python -m build --wheel

clean: ## remove what was made here
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
