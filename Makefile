# Two commands do everything on a fresh machine: `make study` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: study test install install-dev bench clean

study: install  ## install, fetch what is pinned, run the quickstart study
	$(BIN)/explorer assets fetch
	$(BIN)/explorer run quickstart

test: install-dev  ## lint, types, and every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/explorer assets fetch
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

bench: install-dev  ## figures of speed; nothing else should run
	$(BIN)/python -m tests.benchmarks.planes
	$(BIN)/python -m tests.benchmarks.streaming
	$(BIN)/python -m tests.benchmarks.storage

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:  ## remove the virtual environment; studies and fetched assets stay
	rm -rf $(VENV)
