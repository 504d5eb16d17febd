# Two commands on a fresh clone: `make demo` and `make test`. Both make the environment first.
# `make test-all` runs what `make test` leaves for later too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-rest test-all test-costs lint format docs wheel clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Olvido needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/olvido demo

# Three processes for two cores, since some wait: each test, and what it starts, computes with one
# thread. A file's tests are run by one process, the longest files first (tests/conftest.py).
# Compiled files are kept, whatever the environment says: without them every process of a test compiles
# all of Olvido anew, a third of what it takes to import it.
# A training's last bits hang on the processor's instructions, and whether a forgetting passes at one
# seed may hang on them: the tests compute as the widest common set does.
SAME_NUMBERS = ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(SAME_NUMBERS) \
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# What a change needs while it is made: CONTRIBUTING.md says what decides the tier.
test: $(READY)
	$(PYTEST) -m "not later"

test-rest: $(READY)
	$(PYTEST) -m later

test-all: $(READY)
	$(PYTEST)

# Processor seconds of every test, the dearest last: what decides the tier is read here.
test-costs: $(READY)
	PYTHONPATH=.ci $(PYTEST) -p costs --costs build/test-costs.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

# Warnings are errors, and nothing is fetched. Pages open from build/site/index.html; the search box
# needs a server, as 'python -m http.server --directory build/site'.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The wheel and the source archive, in dist/. What the wheel holds and needs, tests/packaging says.
wheel: $(READY)
	$(BIN)/python -m build --no-isolation

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
