PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INJECTIONS ?= 100
CHAOS ?= --page docs/chaos.md --record build/chaos.jsonl

.PHONY: quickstart test slow slow-cluster slow-browser e2e learn learn-families chaos chaos-few methods bench pictures lint format types install

quickstart: install          ## a real study on this machine, from nothing to a comparison
	$(BIN)/mimlab run sweeps/quickstart.yaml

test: install                ## the fast suite, under ten minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not learn and not e2e" -n 3 --dist loadfile

slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not own_cluster and not browser" -n 2 --dist loadfile

slow-cluster: install        ## those that start a Ray of several nodes, each file in a process of its own
	failed=0; for file in $$(grep -rl "mark.own_cluster" tests --include="test_*.py"); do \
		$(BIN)/python -m pytest -m "slow and own_cluster" $$file || failed=1; \
	done; exit $$failed

slow-browser: install        ## those that look at pages in Chromium
	$(BIN)/python -m pytest -m "slow and browser"

e2e: install                 ## a team's day: cluster, MLflow, dashboard, browser; pictures in build/e2e
	$(BIN)/python -m pytest -m e2e tests/e2e

learn: install               ## trains every objective until it has learned something; writes docs/learned.md
	MIMLAB_LEARN_PAGE=docs/learned.md $(BIN)/python -m pytest -m "learn" tests/platform/test_learn.py

learn-families: install      ## the same for one objective of a family, where one is known to learn
	$(BIN)/python -m pytest -m "family" tests/platform/test_learn.py

chaos: install               ## a study under injected faults, 100 of them; goes on where it was broken off
	PYTHONPATH=tests:tests/oracles:tests/servers:cluster/local $(BIN)/python -m chaos --injections $(INJECTIONS) $(CHAOS)

chaos-few: install           ## three of them, in some minutes
	$(MAKE) chaos INJECTIONS=3 CHAOS="--faults kill_worker,kill_trial,kill_driver --steps 1500"

methods: install             ## the tables of docs/methods.md, from what is registered
	$(BIN)/python -m mimlab.spec.methods_page docs/methods.md

bench: install               ## measures speed against peers; writes tests/benchmarks/results/<date>.md
	PYTHONPATH=tests:tests/oracles:cluster/local $(BIN)/python -m benchmarks

pictures: install            ## the dashboard's pictures of docs/: STORAGE, SUBMISSION and TRIAL of real runs
	PYTHONPATH=cluster/local $(BIN)/python tests/dashboard_pictures.py --storage $(STORAGE) --submission $(SUBMISSION) --trial $(TRIAL)

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
