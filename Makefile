# Every target sets up .venv by itself, from a bare `python3 -m venv`, with the tested versions.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SHAPED := nelbo.bound,nelbo.gaussian,nelbo.categorical,nelbo.networks,nelbo.types,beartype.beartype
RARE := /tests/|/transformers/models/|/diffusers/pipelines/|/torch/(_inductor|testing)/|/(pip|mypyc?|networkx)/
AXE := .venv/node_modules/axe-core/axe.min.js
MNIST ?= data/mnist
CIFAR10 ?= data/cifar10

.PHONY: demo test laws check lint bench bench-long bench-gpu compat paper-test docs mutants faults clean

demo: $(READY) ## train on the digits, evaluate, sample, write runs/demo
	$(BIN)/nelbo demo

test: $(READY) $(AXE) ## the whole test suite, with the examples of the docstrings
	$(BIN)/python -m pytest -n 3

laws: $(READY) ## the laws as another processor rounds, without vector instructions; shapes too, in half of the sets
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -q -n 3 --jaxtyping-packages=$(SHAPED) \
	  tests/bound tests/gaussian tests/categorical \
	  tests/estimation/test_processes.py::test_batch_sizes_and_processes_do_not_change_the_table

check: lint test laws ## linters, types, import contracts and tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: $(READY) ## put known bugs in on purpose: every one must make a test fail
	$(BIN)/python tests/mutants.py

faults: $(READY) ## damaged files, failing disks, kills, attacks, command lines; goes on from benchmarks/results; hours
	$(BIN)/python benchmarks/faults.py

bench: $(READY) ## what the library adds to the network's time, beside peers and the last results; under an hour
	$(BIN)/python benchmarks/tables.py timings

bench-long: $(READY) ## every other table of the documentation, with the trainings; resumable by --date; a day and more
	$(BIN)/python benchmarks/tables.py long

bench-gpu: $(READY) ## the same on a GPU, and the recipes for real images; MNIST=DIR CIFAR10=DIR
	$(BIN)/python benchmarks/gpu.py --mnist $(MNIST) --cifar10 $(CIFAR10) \
	  --output benchmarks/results/$$(date -u +%F)-gpu.json

compat: $(READY) ## sdist, its wheel, and the main commands in an environment at every lower bound; takes minutes
	rm -rf .venv/compat && $(PYTHON) -m venv .venv/compat
	$(BIN)/python -m hatchling build -t sdist -d .venv/compat/dist
	tar -xzf .venv/compat/dist/*.tar.gz -C .venv/compat/dist
	cd .venv/compat/dist/nelbo-*/ && $(CURDIR)/$(BIN)/python -m hatchling build -t wheel -d $(CURDIR)/.venv/compat/dist
	.venv/compat/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/lowest.txt \
	  "$$(echo .venv/compat/dist/*.whl)[parquet,text]"
	.venv/compat/bin/python tests/smoke.py

paper-test: $(READY) ## tables, figures and the derivation as pages of a paper, by pdflatex and poppler of the system
	$(BIN)/python tests/paper.py .venv/paper

docs: $(READY) ## the documentation as pages in site/, which open from disk and fetch nothing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# pip compiles 17,000 modules on one core; compileall takes all cores, passes over what hardly anything
# imports (nearly half of the text), and over templates, which are no Python, by an exit code that says so.
$(READY): pyproject.toml constraints/ci.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nelbo needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints/ci.txt -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 -x '$(RARE)' .venv/lib >/dev/null || true
	touch $@

# What judges the accessibility of pages comes from the npm registry; without it those tests are skipped.
$(AXE): constraints/package-lock.json | $(READY)
	@cp constraints/package.json constraints/package-lock.json .venv/
	@npm ci --prefix .venv --ignore-scripts --no-audit --no-fund --silent && touch $@ \
	  || echo "no axe-core: npm is missing or failed; the tests that need it will be skipped" >&2

clean:
	rm -rf .venv site dist
