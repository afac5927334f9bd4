# make demo   sets everything up and takes a sample video through the whole loop
# make test   sets everything up and runs the tests
# make chaos   kills processes of a stack under load and judges what became of it: docs/chaos.md
# make images   builds the container images; manifests/images/engine.sh brings an engine
# make manifest-tools   installs what renders the manifests; their tests run
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

# Test files run in several processes; each needs some GB of memory for its servers.
SIDE_BY_SIDE := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test chaos lint setup manifest-tools label-studio images lock clean

demo: setup
	$(BIN)/actverse demo $(ARGS)

test: setup
	$(BIN)/python -m pytest -rs $(SIDE_BY_SIDE) $(ARGS)

chaos: setup
	$(BIN)/python -m tests.chaos $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/.installed .venv-triton/.installed

label-studio: setup
	$(BIN)/python -m actverse.label_studio

manifest-tools: .venv-manifests/.installed

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

.venv-manifests/.installed: requirements/manifests.txt | $(UV)
	test -x .venv-manifests/bin/python || $(UV) venv --quiet --python '$(VENV_PYTHON)' .venv-manifests
	$(UV) pip sync --quiet --python .venv-manifests/bin/python $(SYNC) requirements/manifests.txt
	touch $@

# IMAGE_REPOSITORY=registry/path and IMAGE_TAG=version name them, as ACTVERSE_IMAGE_REPOSITORY and
# ACTVERSE_IMAGE_TAG name them to the pipelines; BASE=image is what they stand on instead of
# Python's own; DOCKER=podman and BUILD_FLAGS=... reach another builder.
DOCKER ?= docker
IMAGE_REPOSITORY ?= $(or $(ACTVERSE_IMAGE_REPOSITORY),actverse)
IMAGE_TAG ?= $(or $(ACTVERSE_IMAGE_TAG),$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml))
IMAGES := light trainer
REVISION = $(shell git rev-parse HEAD)$(shell git diff --quiet HEAD || echo -dirty)
# Where the code can be read; a clone's own address may hold a password.
IMAGE_SOURCE ?= $(shell git remote get-url origin 2>/dev/null | sed -n 's|^https://\([^@/]*@\)\{0,1\}|https://|p')
# What this machine reaches the package index with, as secrets of the build: no layer keeps them.
INDEX_SECRETS = $(if $(SSL_CERT_FILE),--secret id=ca$(COMMA)src=$(SSL_CERT_FILE)) \
	$(if $(UV_DEFAULT_INDEX),--secret id=index$(COMMA)env=UV_DEFAULT_INDEX)
COMMA := ,

images:
	@case '$(IMAGE_TAG)' in ''|latest) echo 'An image needs a version: IMAGE_TAG=…, never latest.' >&2; exit 2;; esac
	@set -e; for family in $(IMAGES); do \
	  echo "$(IMAGE_REPOSITORY)/$$family:$(IMAGE_TAG)"; start=$$SECONDS; \
	  DOCKER_BUILDKIT=1 $(DOCKER) build --quiet $(BUILD_FLAGS) $(INDEX_SECRETS) \
	    $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(IMAGE_TAG) \
	    --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(IMAGE_SOURCE) \
	    --file manifests/images/Containerfile --target $$family \
	    --tag $(IMAGE_REPOSITORY)/$$family:$(IMAGE_TAG) . ; \
	  echo "  $$(($$($(DOCKER) image inspect --format '{{.Size}}' \
	    $(IMAGE_REPOSITORY)/$$family:$(IMAGE_TAG)) / 1000000)) MB, built in $$((SECONDS - start)) s"; \
	done

COMPILE_SAME = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header
COMPILE = $(COMPILE_SAME) $(UPGRADE)

# UPGRADE=--upgrade takes newer versions too.
lock: | $(UV)
	$(COMPILE) --extra dev pyproject.toml --output-file requirements/dev.txt
	@# The images have what the tests ran with: uv keeps the versions it finds in a file.
	cp requirements/dev.txt requirements/light.txt
	cp requirements/dev.txt requirements/trainer.txt
	cp requirements/dev.txt requirements/build.txt
	$(COMPILE_SAME) --extra gateway --extra evaluation pyproject.toml --output-file requirements/light.txt
	$(COMPILE_SAME) --extra all pyproject.toml --output-file requirements/trainer.txt
	$(COMPILE_SAME) requirements/build.in --output-file requirements/build.txt
	$(COMPILE) requirements/triton.in --output-file requirements/triton.txt
	$(COMPILE) --no-config requirements/manifests.in --output-file requirements/manifests.txt
	@# pip takes a hash for a[b] only where the lock says a[b]; the other locks are uv's alone.
	$(COMPILE) --no-config --no-strip-extras requirements/label-studio.in \
	  --output-file requirements/label-studio.txt
	$(COMPILE) requirements/uv.in --output-file requirements/uv.txt

clean:
	rm -rf .venv .venv-triton .venv-label-studio .venv-manifests .uv .actverse
