# Each target makes the virtual environment that it needs. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv/$(TAG)
PURE := .venv/$(TAG)-pure
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py README.md LICENSE $(shell find weaves lunar -name '*.py')
# -P: the checkout itself is not on the path, so that what is tested is what was installed.
PYTEST := -P -m pytest

.PHONY: all demo test test-compiled test-pure check lint types contract bench clean

all: demo

demo: $(VENV)/.installed
	@$(BIN)/weave --version
	$(BIN)/weave run tapestries/quickstart.toml

test: test-compiled test-pure

test-compiled: $(VENV)/.installed
	@$(BIN)/weave --version
	LUNAR_PURE= $(BIN)/python $(PYTEST) $(ARGS)

test-pure: $(PURE)/.installed
	@$(PURE)/bin/weave --version
	LUNAR_PURE=1 $(PURE)/bin/python $(PYTEST) $(ARGS)

check: lint types contract test

lint: $(VENV)/.checkers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff weaves/__init__.py

types: $(VENV)/.checkers
	$(BIN)/mypy --strict

contract: $(VENV)/.checkers
	PYTHONPATH=. $(BIN)/lint-imports

bench: $(VENV)/.installed
	$(BIN)/python -P benchmarks/echo.py
	$(BIN)/python -P benchmarks/bulk.py

# The environment is rebuilt in place whenever a source changed; pip compiles by itself (setup.py).
$(VENV)/.installed: $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), compiling the hot path (a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[test]"
	@rm -rf build
	@$(BIN)/weave --version
	@touch $@

$(PURE)/.installed: $(SOURCES)
	@test -x $(PURE)/bin/python || $(PYTHON) -m venv $(PURE)
	@echo "installing into $(PURE), interpreted ..."
	@LUNAR_PURE=1 $(PURE)/bin/python -m pip install --quiet --disable-pip-version-check ".[test]"
	@rm -rf build
	@touch $@

$(VENV)/.checkers: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[check,test]" --no-deps --dry-run >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "import-linter>=2" "mypy>=1.18" "ruff>=0.6"
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
