# Two commands do everything on a fresh machine: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test quick check format docs claims bench clean

demo: $(VENV)/.installed
	$(BIN)/stepcredit demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

quick: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Regenerates what is generated: the method tables in README.md and docs/.
docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

# The full table of recipes/outcome_prm over five untouched seeds; hours on two cores, resumes where it stopped.
claims: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[rl]"
	$(BIN)/python claims/run.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/run.py

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf runs .mypy_cache .ruff_cache .pytest_cache
