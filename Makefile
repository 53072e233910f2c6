# `make` lists the targets. Needs GNU make, git and Python 3.11 or newer; everything else is installed into .venv/.

PYTHON ?= python3
TORCH ?= auto
PIP_ARGS ?=
PRESET ?=
PYTEST_ARGS ?=
UI_PORT ?= 5000
BENCH_ARGS ?= --data digits

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/i2i_unlearn/__init__.py)
I2I_UNLEARN_IMAGE ?= i2i-unlearn:$(VERSION)
IMAGE ?= $(I2I_UNLEARN_IMAGE)
TARGET ?= cpu
BASE_IMAGE ?=
TORCH_INDEX ?=
BUILD_ARGS ?=
# The first that answers; docker may be installed and not running.
ENGINE ?= $(shell for one in docker podman; do if $$one info >/dev/null 2>&1; then echo $$one; break; fi; done)

BIN := .venv/bin
# Written last: an installation that failed or was interrupted leaves no stamp, and the next `make` goes on with it.
STAMP := .venv/.installed

export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

# One line that says what is wrong with $(PYTHON); empty if nothing is.
python_problem = $(shell \
    if ! $(PYTHON) -c 'pass' >/dev/null 2>&1; then \
        echo "$(PYTHON) cannot be run; install Python 3.11 or newer or name another: make PYTHON=python3.12"; \
    elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
        echo "$$($(PYTHON) --version 2>&1) is too old, 3.11 or newer is needed; name another: make PYTHON=python3.12"; \
    elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
        echo "$(PYTHON) has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv)"; \
    fi)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-containers test-versions lint image release ui bench-quality campaign lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s%s\n", $$1, $$2 }' Makefile
	@echo 'Settings, for example make demo PYTHON=python3.12:'
	@echo '  PYTHON       the Python that makes .venv/ (python3)'
	@echo '  TORCH        build of PyTorch: cpu, cuda, or auto, the one that fits this machine (auto)'
	@echo '  PIP_ARGS     options for pip install; it then installs in place of uv, without the lock'
	@echo '  PRESET       settings to lay over params.yaml first, such as paper (demo)'
	@echo '  PYTEST_ARGS  more options for pytest (test, test-slow, test-containers)'
	@echo '  UI_PORT      port of the MLflow UI (ui; 5000)'
	@echo '  BENCH_ARGS   what to compare, see python -m benchmarks.quality --help (bench-quality)'
	@echo '  IMAGE        name and tag of the image (image; $(IMAGE))'
	@echo '  TARGET       cpu or gpu (image; cpu)'
	@echo '  TORCH_INDEX  index with the builds of PyTorch for TARGET; empty for what pip takes of its own accord (image)'
	@echo '  BASE_IMAGE   image with Python 3.11 or newer to build on; empty for that of components/Containerfile (image)'
	@echo '  BUILD_ARGS   more options for docker build or podman build (image)'
	@echo '  ENGINE       docker or podman; the one that answers (image)'

setup: $(STAMP) ## make .venv/ and install the exact versions of the lock
	@echo "Ready: '. .venv/bin/activate' puts i2i-unlearn and dvc on the PATH."

demo: $(STAMP) ## set up, then make a model forget the digit 3, from data to promotion
	@$(if $(PRESET),$(BIN)/i2i-unlearn preset use $(PRESET))
	@$(BIN)/i2i-unlearn demo

test: $(STAMP) ## set up, then run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not containers" $(PYTEST_ARGS)

test-slow: $(STAMP) ## set up, then run the tests of whole chains (kill and resume, all families, sweeps)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not containers" $(PYTEST_ARGS)

test-containers: $(STAMP) ## set up, then build the image and run the pipeline in containers (as root; installs docker.io and podman)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m containers tests/containers $(PYTEST_ARGS)

test-versions: $(STAMP) ## set up, then try saved models and our tests on the lowest and newest libraries allowed (index needed)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.versions

lint: $(STAMP) ## set up, then check style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

image: ## build the image of the steps with docker or podman, and look whether it is as it should be
	@$(if $(ENGINE),,$(error neither docker nor podman answers here; install one, or start its daemon))
	$(ENGINE) build --file components/Containerfile --target "$(TARGET)" --tag "$(IMAGE)" \
	    --build-arg "VERSION=$(VERSION)" --build-arg "REVISION=$$(git describe --always --dirty --abbrev=40 --exclude '*')" \
	    $(if $(BASE_IMAGE),--build-arg "BASE_IMAGE=$(BASE_IMAGE)") \
	    $(if $(TORCH_INDEX),--build-arg "TORCH_INDEX=$(TORCH_INDEX)") $(BUILD_ARGS) .
	$(ENGINE) run --rm --network none --read-only --tmpfs /tmp --tmpfs /workspace "$(IMAGE)"

release: $(STAMP) ## set up, then build a release in dist/: wheel, sdist, checksums; and the image if an engine answers
	@grep -qx '## $(VERSION)' CHANGELOG.md \
	    || { echo "CHANGELOG.md has no section '## $(VERSION)'; write what changed, or correct __version__"; exit 1; }
	@[ -z "$$(git status --porcelain --untracked-files=no)" ] \
	    || { echo "there are changes that are not committed; commit them first"; exit 1; }
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist
	@cp constraints.txt dist/
	@cd dist && sha256sum -- * >../.SHA256SUMS && mv ../.SHA256SUMS SHA256SUMS && cat SHA256SUMS
	@$(if $(ENGINE),$(MAKE) image,echo "neither docker nor podman answers here: no image was built (make image)")

ui: mlflow.db $(STAMP) ## open the MLflow UI on the demo's database
	@echo "MLflow UI: http://127.0.0.1:$(UI_PORT) answers in about 20 seconds; Ctrl-C ends it"
	@# For looking at: one worker of 250 MB is enough, and no runners of jobs. The warnings are about MLflow's own code.
	@PYTHONWARNINGS=ignore MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	    $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --port $(UI_PORT) --workers 1

mlflow.db:
	$(error mlflow.db is not there yet; run `make demo` first)

bench-quality: $(STAMP) ## set up, then compare all objectives with retraining (hours; goes on where it stopped)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.quality $(BENCH_ARGS)

campaign: $(STAMP) ## set up, then look for faults by the hundred: kills, bad inputs, flipped bytes, full disks (as root)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaign run
	@$(BIN)/python -m tests.campaign report

lock: $(STAMP) ## set up, then write the lock in requirements/ (after a change of constraints.txt; index needed)
	@$(BIN)/python requirements/lock.py

clean: ## remove .venv/ and caches; data, artifacts and the registry stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache dist
	find src components pipelines tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A build of PyTorch that is named is compared with the installed one each time.
$(STAMP): pyproject.toml constraints.txt requirements/install.py $(wildcard requirements/*.lock) \
    $(if $(filter auto,$(TORCH)),,FORCE)
	@$(if $(python_problem),$(error $(python_problem)))
	@rm -f $(STAMP)
	@# A .venv/ without a working pip (half made, or its Python is gone) or of an older Python is created again.
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || $(PYTHON) -m venv --clear .venv
	@echo "Installing into .venv/; docs/install.md says how much is downloaded"
ifeq ($(PIP_ARGS),)
	@$(BIN)/python requirements/install.py $(TORCH)
else
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' $(PIP_ARGS)
endif
	@touch $(STAMP)

FORCE:
