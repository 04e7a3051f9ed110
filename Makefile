# Labsite on one machine, and its tests. Needs Python 3.11, 3.12 or 3.13, pip and make; see README.md.
#   make run                  start everything; Ctrl-C stops it
#   make stop | status | logs (make logs FOLLOW=1 goes on; PROCESS=web only that one)
#   make test [PYTEST="tests/devices -k lane"]
#   make check | bench | test-faults | clean

VENV ?= .venv
PY = $(VENV)/bin/python
export VENV

.PHONY: help run stop status logs venv venv-dev built check test test-faults bench clean

help:
	@sed -n 's/^#   //p' Makefile

venv:
	@scripts/venv.sh onebox

venv-dev:
	@scripts/venv.sh dev

built:
	@test -x $(PY) || { echo "Labsite was not started here yet: make run"; exit 3; }

run: venv
	@exec $(PY) -m labsite.onebox run

stop status: built
	@exec $(PY) -m labsite.onebox $@

logs: built
	@exec $(PY) -m labsite.onebox logs $(if $(FOLLOW),--follow) $(PROCESS)

check: export LABSITE_DATA = $(abspath $(VENV))/check
check: venv-dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

# Tests of single parts, on all cores (their names are the same in each worker only with a fixed hash seed);
# then those with all processes, and those that break things, one after the other.
PARTS = $(wildcard tests/devices tests/telemetry tests/alerts tests/labsite)
WHOLE = $(wildcard tests/system tests/faults)
WORKERS ?= auto

test: venv-dev
	@scripts/debian.sh
	@$(MAKE) --no-print-directory check
ifdef PYTEST
	$(PY) -m pytest -m "not long" $(PYTEST)
else
	PYTHONHASHSEED=0 $(PY) -m pytest -m "not long" -n $(WORKERS) --dist loadfile $(PARTS)
	$(PY) -m pytest -m "not long" $(WHOLE)
endif

# Each outage for minutes instead of seconds, and other faults each day.
test-faults: export LABSITE_OUTAGE_S ?= 120
test-faults: export LABSITE_SEED ?= $(shell date +%j)
test-faults: venv-dev
	@scripts/debian.sh
	$(PY) -m pytest -m "long or not long" --timeout=7200 $(if $(PYTEST),$(PYTEST),tests/faults)

# One JSON line per figure.
BENCHMARKS ?= cadence hung holding streams ingest computed backlog end_to_end orders alarms memory rollups history sinks
bench: venv-dev
	@for name in $(BENCHMARKS); do $(PY) -m tests.benchmarks.$$name || exit 1; done

# Not the data folder: that is the user's.
clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
