# Two commands do everything on a fresh machine: `make study` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: study test check assets install install-dev bench clean

study: install  ## install, fetch what is pinned, run the quickstart study
	$(BIN)/explorer assets fetch
	$(BIN)/explorer run quickstart

# In the order of the folders: tests/objectives is long, and of many files, none of which keeps one process to the end.
test: check assets  ## lint, types, and every test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: install-dev  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

assets: install-dev  ## fetch what is pinned
	$(BIN)/explorer assets fetch

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

# All at once: two installations would resolve everything twice.
$(VENV)/.installed-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $(VENV)/.installed $@

clean:  ## remove the virtual environment; studies and fetched assets stay
	rm -rf $(VENV)
