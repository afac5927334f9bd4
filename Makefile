# make demo   sets everything up and takes a sample video through the whole loop
# make test   sets everything up and runs the tests
# make label-studio   installs Label Studio too, as actverse up --label-studio does; its tests run
SHELL := /bin/bash
# PYTHON=python3.12 takes that one; else a suitable one is looked for.
ifdef PYTHON
VENV_PYTHON := $(PYTHON)
else
PYTHON := python3
VENV_PYTHON := >=3.11,<3.13
endif
UV := $(or $(shell command -v uv),.uv/bin/uv)
BIN := .venv/bin
# Compiled once here, not anew by each of the many processes that may not write beside it.
SYNC := --require-hashes --compile-bytecode

.PHONY: demo test lint setup label-studio lock clean

demo: setup
	$(BIN)/actverse demo $(ARGS)

test: setup
	$(BIN)/python -m pytest -rs $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/.installed .venv-triton/.installed

label-studio: setup
	$(BIN)/python -m actverse.label_studio

# uv comes from the package index into an environment of its own.
.uv/bin/uv: requirements/uv.txt
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	touch $@

.venv/.installed: requirements/dev.txt pyproject.toml | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python '$(VENV_PYTHON)' .venv
	$(UV) pip sync --quiet --python $(BIN)/python $(SYNC) requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# Triton's Python stub corrupts tensors under numpy 2: it gets an environment of its own.
.venv-triton/.installed: requirements/triton.txt | $(UV)
	test -x .venv-triton/bin/python || $(UV) venv --quiet --python '$(VENV_PYTHON)' .venv-triton
	$(UV) pip sync --quiet --python .venv-triton/bin/python $(SYNC) requirements/triton.txt
	touch $@

COMPILE = $(UV) pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

# UPGRADE=--upgrade takes newer versions too.
lock: | $(UV)
	$(COMPILE) --extra dev pyproject.toml --output-file requirements/dev.txt
	$(COMPILE) requirements/triton.in --output-file requirements/triton.txt
	$(COMPILE) --no-config requirements/label-studio.in --output-file requirements/label-studio.txt
	$(COMPILE) requirements/uv.in --output-file requirements/uv.txt

clean:
	rm -rf .venv .venv-triton .venv-label-studio .uv .actverse
