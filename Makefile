PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test slow learn learn-families methods bench lint format types install

quickstart: install          ## a real study on this machine, from nothing to a comparison
	$(BIN)/mimlab run sweeps/quickstart.yaml

test: install                ## the fast suite, under ten minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not learn"

slow: install
	$(BIN)/python -m pytest -m "slow"

learn: install               ## trains every objective until it has learned something; writes docs/learned.md
	MIMLAB_LEARN_PAGE=docs/learned.md $(BIN)/python -m pytest -m "learn" tests/platform/test_learn.py

learn-families: install      ## the same for one objective of a family, where one is known to learn
	$(BIN)/python -m pytest -m "family" tests/platform/test_learn.py

methods: install             ## the tables of docs/methods.md, from what is registered
	$(BIN)/python -m mimlab.spec.methods_page docs/methods.md

bench: install               ## measures speed against peers; writes tests/benchmarks/results/<date>.md
	PYTHONPATH=tests:tests/oracles $(BIN)/python -m benchmarks

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: install
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)
