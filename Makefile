# Works with GNU make 3.81 (macOS) and newer.

PYTHON ?= python3
VENV ?= .venv
VENV_BENCH ?= .venv-bench
VENV_MILVUS ?= .venv-milvus
# Further arguments for the program a target runs: make test ARGS="-k filters"
ARGS ?=
# Processes that share the tests; 0 runs them in one, as a debugger needs.
WORKERS ?= auto
# One thread in each of them: they use all cores already. Compiled modules are kept even where the environment says
# otherwise: many tests start processes, and each would compile everything again.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile
# Pages have a target of their own: a browser wants a processor to itself.
PAGES = tests/browser
QUICK = not thorough and not slow and not engine and not upstream

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-postgres test test-all test-pages test-engines test-milvus check docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

venv: $(VENV)/.installed ## set up the virtual environment, if anything changed

demo: $(VENV)/.installed ## run the quick-start example
	$(VENV)/bin/python examples/quickstart.py $(ARGS)

demo-postgres: $(VENV)/.installed ## copy the quick start's collection into PostgreSQL and ask both
	$(VENV)/bin/python examples/demo_postgres.py $(ARGS)

test: $(VENV)/.installed ## run the short tests, each with one of its parameters
	$(PYTEST) --sample -m "$(QUICK)" --ignore $(PAGES) $(ARGS)

test-all: $(VENV)/.installed ## run all tests with all parameters
	$(PYTEST) --ignore $(PAGES) $(ARGS)

test-pages: $(VENV)/.installed ## run the tests of pages in Chromium; without one they are skipped
	$(PYTEST) -n 0 $(ARGS) $(PAGES)

test-engines: $(VENV)/.installed ## run the tests that need PostgreSQL, which they start, or Qdrant's local mode
	$(PYTEST) -m engine $(ARGS) tests/engines/postgres tests/engines/qdrant

# Four processes share one server, and mostly wait for it.
test-milvus: $(VENV)/.installed $(VENV_MILVUS)/.installed ## run the tests that need Milvus, which they start
	THEODOLITE_MILVUS_ENVIRONMENT=$(abspath $(VENV_MILVUS)) $(PYTEST) -n 4 --dist load -m engine $(ARGS) tests/engines/milvus

check: docs ## lint, format, types, import rules, documentation
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

docs: $(VENV)/.installed ## build the documentation in site/, without a network; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: $(VENV_BENCH)/.installed ## run the benchmarks beside their peers
	$(VENV_BENCH)/bin/python benchmarks/flat.py
	$(VENV_BENCH)/bin/python benchmarks/ingest.py

clean: ## remove build output and caches; virtual environments stay
	rm -rf build dist site .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find retriever adapters tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The file `.installed` is written last, so an interrupted installation is done again.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[all,dev]'
	touch $@

# The peers stay out of the development environment: nothing but a benchmark may import them.
$(VENV_BENCH)/.installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	test -x $(VENV_BENCH)/bin/python || $(PYTHON) -m venv $(VENV_BENCH)
	$(VENV_BENCH)/bin/python -m pip install -c constraints.txt -r benchmarks/requirements.txt -e '.[all]'
	touch $@

# A Milvus server from a package, which needs an old setuptools.
$(VENV_MILVUS)/.installed: Makefile
	test -x $(VENV_MILVUS)/bin/python || $(PYTHON) -m venv $(VENV_MILVUS)
	$(VENV_MILVUS)/bin/python -m pip install 'milvus==2.3.5' 'setuptools<80'
	touch $@
