# Each target makes the virtual environment that it needs. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
# pyenv's shims refuse a version that is installed and not active; then its own copy is meant.
PYENV_ROOT ?= $(HOME)/.pyenv
FOUND := $(shell $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null || ls $(PYENV_ROOT)/versions/*/bin/$(PYTHON) 2>/dev/null | tail -n 1)
ifeq ($(FOUND),)
$(error $(PYTHON) does not run; set PYTHON to a Python of 3.11 or later, as in: make test PYTHON=python3.13)
endif
TAG := $(shell $(FOUND) -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "old")')
ifeq ($(TAG),old)
$(error $(PYTHON) is older than Python 3.11; set PYTHON to a later one, as in: make test PYTHON=python3.13)
endif
VENV := .venv/$(TAG)
PURE := .venv/$(TAG)-pure
APPS := .venv/$(TAG)-apps
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py README.md LICENSE $(shell find weaves lunar -name '*.py')
# The checkers, as pyproject.toml names them.
CHECKERS = $(shell $(BIN)/python -c 'import tomllib; print(*map(repr, tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["check"]))')
# The tests that reach the stack, without programs and packages above it.
STACK_TESTS := tests/lunar tests/parity tests/property tests/fuzz tests/scenarios/test_attacks.py
STACK_TESTS += tests/scenarios/test_packetdrill.py
# -P: the checkout itself is not on the path, so that what is tested is what was installed.
PYTEST := -P -m pytest

.PHONY: all demo test test-compiled test-pure check lint types contract verify bench
.PHONY: coverage property fuzz conformance conformance-uvloop conformance-apps packetdrill clean

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

types: $(VENV)/.checkers
	$(BIN)/mypy --strict
	$(BIN)/mypy --strict tests/lunar/asyncio/test_typed_program.py

contract: $(VENV)/.checkers
	PYTHONPATH=. $(BIN)/lint-imports

# The thesis' chapter 4, all of it: its programs over UDP links between processes (docs/testing.md).
verify: $(VENV)/.installed
	@$(BIN)/weave --version
	$(BIN)/python tests/verification/chapter4.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/echo.py
	$(BIN)/python benchmarks/bulk.py
	$(BIN)/python benchmarks/hosts.py
	$(BIN)/python benchmarks/heap.py
	$(BIN)/python benchmarks/udp_link.py
	$(BIN)/python benchmarks/beads.py --most 100
	$(BIN)/python benchmarks/lives.py 2000
	$(BIN)/python benchmarks/strings.py

# Lines and branches of lunar/tcp and lunar/net that tests reach (docs/testing.md); interpreted, with a tracer below.
coverage: $(PURE)/.installed
	@$(PURE)/bin/python -m pip install --quiet --disable-pip-version-check ".[cov]"
	@rm -rf build *.egg-info
	LUNAR_PURE=1 $(PURE)/bin/python -P -m coverage run -m pytest -q $(STACK_TESTS) $(ARGS)
	@$(PURE)/bin/python -m coverage report

# Random networks, as many as NETWORKS says, in two processes (docs/testing.md). `test` has some hundred of them.
NETWORKS ?= 20000
SEED ?= 1
property: $(VENV)/.installed
	@$(BIN)/weave --version
	$(BIN)/python -m tests.property --networks $(NETWORKS) --seed $(SEED)

# Frames that nobody should send, as many as FRAMES says (docs/testing.md). `test` has some thousand of them.
FRAMES ?= 10000000
fuzz: $(VENV)/.installed
	@$(BIN)/weave --version
	$(BIN)/python -m tests.fuzz --frames $(FRAMES) --seed $(SEED)
	$(BIN)/python -m tests.fuzz.udp_flood --count 1000000 --seed $(SEED)
	$(BIN)/python -m tests.fuzz.udp_flood --count 1000000 --seed $(SEED) --key
	$(BIN)/python -m tests.fuzz.tap_flood --count 1000000 --seed $(SEED)

# CPython's own tests, those of the interpreter, on a virtual host (docs/other_tests.md). Some minutes; not part of `test`.
conformance: $(VENV)/.installed
	@$(BIN)/weave --version
	$(BIN)/python -P tests/conformance/run.py --only cpython $(ARGS)

# uvloop's own tests, those of its variants for asyncio's loop. Fetches.
conformance-uvloop: $(VENV)/.uvloop
	@$(BIN)/weave --version
	$(BIN)/python -P tests/conformance/run.py --only uvloop $(ARGS)

# The tests of other people's packages, on a virtual host (docs/other_tests.md). Fetches; not part of `test`.
conformance-apps: $(APPS)/.installed
	@$(APPS)/bin/weave --version
	$(APPS)/bin/python -P tests/conformance/run.py --only aiohttp anyio websockets $(ARGS)

# Google's scripts for packetdrill, those of TCP, in the suite's three modes against a virtual host (docs/packetdrill.md).
# Fetches into .packetdrill, if PACKETDRILL does not say where a checkout is. The exit code is that of the last mode: 1
# when a script fails, which a few do.
PACKETDRILL ?= .packetdrill
PACKETDRILL_MODES ?= ipv4 ipv6 ipv4-mapped-ipv6
packetdrill: $(VENV)/.installed
	@test -d $(PACKETDRILL) || git clone --quiet --depth 1 https://github.com/google/packetdrill.git $(PACKETDRILL)
	@for mode in $(PACKETDRILL_MODES); do echo "--ip_version=$$mode"; \
	  $(BIN)/weave packetdrill --quiet --ip_version=$$mode $(ARGS) $(PACKETDRILL)/gtests/net/tcp; done

# `build` goes before the interpreted install too: what an interrupted compilation left there would be installed with it.
# The environment is rebuilt in place whenever a source changed; pip compiles by itself (setup.py).
$(VENV)/.installed: $(SOURCES)
	@test -x $(BIN)/python || $(FOUND) -m venv $(VENV)
	@echo "installing into $(VENV), compiling the hot path (a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[test]"
	@rm -rf build *.egg-info
	@$(BIN)/weave --version
	@touch $@

$(PURE)/.installed: $(SOURCES)
	@test -x $(PURE)/bin/python || $(FOUND) -m venv $(PURE)
	@echo "installing into $(PURE), interpreted ..."
	@rm -rf build
	@LUNAR_PURE=1 $(PURE)/bin/python -m pip install --quiet --disable-pip-version-check ".[test]"
	@rm -rf build *.egg-info
	@touch $@

$(APPS)/.installed: $(SOURCES) tests/conformance/packages.toml
	@test -x $(APPS)/bin/python || $(FOUND) -m venv $(APPS)
	@echo "installing into $(APPS), compiling the hot path (a minute or two) ..."
	@$(APPS)/bin/python tests/conformance/sources.py aiohttp anyio websockets > $(APPS)/requirements.txt
	@$(APPS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(APPS)/requirements.txt .
	@rm -rf build *.egg-info
	@touch $@

$(VENV)/.uvloop: $(VENV)/.installed tests/conformance/packages.toml
	@$(BIN)/python tests/conformance/sources.py uvloop > $(VENV)/uvloop-requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/uvloop-requirements.txt
	@touch $@

$(VENV)/.checkers: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CHECKERS)
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .conformance
