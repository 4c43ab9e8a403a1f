# Two commands matter: `make run` starts the app, `make test` runs every test. Both set up what they need, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PORT ?= 8501
PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/.stamps
# requirements*.txt name and pin what is imported, requirements.lock pins what that brings along.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

.PHONY: help run serve tune test tests cluster quick check coverage mutants faults audit lock demo screenshots benchmark clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/'

run: $(STAMPS)/app ## set up if need be, and start the app on http://localhost:8501 (or PORT)
	$(BIN)/python -m dashboard --server.port $(PORT)

serve: $(STAMPS)/app ## start the app for a team: several processes behind nginx (SERVE: options, see --help)
	@command -v nginx >/dev/null || ./.ci/apt nginx-light
	$(BIN)/python -m dashboard.serve $(SERVE)

tune: $(STAMPS)/tune ## add what the search for better settings needs, here and in the app
	@echo "python -m crm_models tune --help says how to search; the app must be started anew"

# Container images like to forbid Python to keep what it compiled; the many processes here would each compile it anew.
export PYTHONDONTWRITEBYTECODE :=

# Two processes of one computing thread each take two thirds of the time of one process of two. One that has nothing
# left to do takes over tests of the other. Tests in the browser come after the others, and a file stays
# in one process: they mostly wait, for pages and for trainings that yield to everything else.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
SIDE_BY_SIDE := $(PYTEST) --numprocesses 2 --dist worksteal --ignore tests/browser --ignore tests/cluster

test: $(STAMPS)/test ## set up if need be; lint, types, all tests
	$(MAKE) --no-print-directory --jobs 2 check tests

# mypy takes most of a minute where nothing is in its cache, so the tests do not wait for it.
tests:
	$(SIDE_BY_SIDE)
	$(PYTEST) --numprocesses 2 --dist loadfile -m browser tests/browser

quick: $(STAMPS)/test ## the tests that take less than a minute
	$(SIDE_BY_SIDE) -m "not slow and not data and not pages"

# Apart from `test`, because tracing every line takes as long again as the tests themselves.
coverage: $(STAMPS)/test ## which lines of the package no test reaches
	$(SIDE_BY_SIDE) --cov --cov-report=term:skip-covered

check: $(STAMPS)/test ## formatter, linter and type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Apart from `test`: Ray takes a quarter of a gigabyte. The S3 server needs older packages, so it has its own environment.
cluster: $(STAMPS)/cluster ## planning and training on several machines: Ray with several nodes, and an S3 server, on this machine
	$(PYTEST) -m cluster tests/cluster

# A stamp is newer than the list it was installed from, so a second call starts at once.
$(STAMPS)/app: requirements.txt requirements.lock | $(STAMPS)
	$(PIP) -r requirements.txt
	@touch $@

$(STAMPS)/tune: requirements-tune.txt requirements.lock $(STAMPS)/app
	$(PIP) -r requirements-tune.txt
	@touch $@

# All at once, the browser beside the rest. pip would compile every file of every package, which takes a minute; the
# tests compile the part that they import.
$(STAMPS)/test: tests/requirements.txt requirements-tune.txt requirements-sql.txt requirements-signin.txt requirements.txt requirements.lock | $(STAMPS)
	{ command -v chromium >/dev/null || ./.ci/apt chromium; } & \
	$(PIP) --no-compile -r requirements.txt -r tests/requirements.txt && wait $$!
	@touch $(STAMPS)/{app,tune,test}

$(STAMPS)/cluster: requirements-ray.txt tests/cluster/requirements.txt requirements.lock $(STAMPS)/test
	$(PIP) -r requirements-ray.txt
	$(BIN)/python -m venv .venv/s3
	.venv/s3/bin/python -m pip install --quiet --disable-pip-version-check -r tests/cluster/requirements.txt
	@touch $@

$(STAMPS): ; @./.ci/venv $(PYTHON) && mkdir -p $@

# Not part of `test`: a quarter of an hour. `mutmut show NAME` shows a mutant that no test noticed.
mutants: $(STAMPS)/test ## try whether the quick tests notice wrong code, in the modules named in pyproject.toml
	$(PIP) mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

# Not part of `test`, which runs a sample of it.
faults: $(STAMPS)/test ## kill, damage and fill the disk under commands and pages for ten minutes (or MINUTES)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --minutes $(or $(MINUTES),10)

# In an environment of its own: pip-audit brings other versions of packages that are used here.
audit: | $(STAMPS) ## known advisories of the packages in requirements.lock, where PyPI or OSV answers
	@$(BIN)/python -m venv .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@$(BIN)/python .ci/audit .venv/audit/bin/pip-audit requirements.lock

# From a fresh environment, so that nothing stays in it that nobody needs. A local label such as torch's +cpu is left out.
lock: ## write requirements.lock anew from the requirements
	@rm -rf .venv/lock && $(BIN)/python -m venv .venv/lock
	@.venv/lock/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-ray.txt -r tests/requirements.txt
	@{ echo "# Written by 'make lock': every package that the requirements bring along, at the version that was tested."; \
	.venv/lock/bin/python -m pip freeze --all --exclude pip | sed -E 's/\+[a-z0-9.]+$$//'; } > requirements.lock
	@rm -rf .venv/lock

benchmark: $(STAMPS)/app ## how fast and in how much memory: a million customers generated, 100,000 planned
	$(BIN)/python -m crm_models.bench.speed
	$(BIN)/python -m crm_models.bench.imports

demo: $(STAMPS)/app ## train the run that the app shows on its first start anew, and keep it in assets/demo
	OMP_NUM_THREADS=1 $(BIN)/python -m dashboard.state.demo

screenshots: $(STAMPS)/test ## take the pictures of the README from the running app, some minutes
	$(BIN)/python tests/browser/screenshots.py

clean: ## remove what was set up
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage mutants
