# Targets: make help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
SECONDS ?= 600
READERS ?=
KILLS ?= 1000
BIN := $(VENV)/bin
C_FILES = $(shell git ls-files 'firmware_harness/*.c' 'firmware_harness/*.h' 'firmware_harness/*.cpp' ':!firmware_harness/host')
PIP := $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check
# Two cores are shared by the test workers: a maths library with threads of its own would only wait for itself.
export OMP_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

# What `make check` leaves to `make test`: tests that start a program (tests/support/kinds.py sets the marks) or are marked long.
QUICK := not (slow or long or e2e or play or train or compiler or emulator or browser or probe or server or framework)
# Types of frameworks are checked where they are installed. Without them they count as Any.
WITHOUT_FRAMEWORKS := --ignore-missing-imports --no-warn-unused-ignores --no-warn-return-any \
  --allow-subclassing-any --allow-untyped-decorators
MYPY_FLAGS = $(if $(wildcard $(VENV)/test.done),,$(WITHOUT_FRAMEWORKS))

.DEFAULT_GOAL := help
.PHONY: help demo setup check test test-all coverage fuzz kill audit site lint format bench results dist lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Settings: PYTHON=$(PYTHON) (3.11, 3.12 or 3.13) and VENV=$(VENV), the folder of the environment."

demo: $(VENV)/core.done ## set up without root and ship three trained policies
	$(BIN)/quarl ship cartpole_ppo --out demo/cartpole_ppo
	$(BIN)/quarl ship nav_ppo --out demo/nav_ppo
	$(BIN)/quarl ship pendulum_sac --out demo/pendulum_sac

setup: $(VENV)/test.done ## install all that the tests need

check: lint ## lint and the quick tests, in about a minute; needs no torch and no TensorFlow
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(QUICK)" tests

test: $(VENV)/test.done ## run the tests; sets up all that they need
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests

test-all: $(VENV)/test.done ## run the tests and the slow sweeps
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

coverage: $(VENV)/test.done ## run the tests and print which lines of the package they reach
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --cov=quarl --cov-branch --cov-report=term:skip-covered tests

fuzz: $(VENV)/fuzz.done ## mutate good files for every reader, SECONDS=600 by chance and as long by coverage
	$(BIN)/python -m tests.fuzz $(READERS) --seconds $(SECONDS)
	$(BIN)/python -m tests.fuzz $(READERS) --seconds $(SECONDS) --coverage

kill: $(VENV)/test.done ## end export, ship, gate and history at KILLS=1000 random moments
	$(BIN)/python -m tests.kill --kills $(KILLS)

audit: $(VENV)/test.done ## ask the index for known vulnerabilities of what is locked; needs the network
	$(BIN)/uv tool run pip-audit --strict --disable-pip --require-hashes -r requirements/core.txt -r requirements/test.txt -r requirements/fuzz.txt

site: $(VENV)/test.done ## build the documentation as a site into build/site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

lint: $(VENV)/check.done ## ruff, clang-format and mypy; needs no torch and no TensorFlow
	$(BIN)/ruff check toolchain tests firmware_harness setup.py
	$(BIN)/ruff format --check toolchain tests firmware_harness setup.py
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/mypy $(MYPY_FLAGS)
	$(BIN)/mypy $(MYPY_FLAGS) tests/types/api.py tests/bench

format: $(VENV)/check.done ## mend what ruff and clang-format can mend
	$(BIN)/ruff check --fix toolchain tests firmware_harness setup.py
	$(BIN)/ruff format toolchain tests firmware_harness setup.py
	@$(BIN)/clang-format -i $(C_FILES)

bench: $(VENV)/test.done ## measure every number that quarl promises
	$(BIN)/quarl doctor --install pi-emulator
	$(BIN)/python -m tests.bench

results: $(VENV)/test.done ## write the tables of the bench into toolchain/docs
	$(BIN)/quarl doctor --install pi-emulator
	$(BIN)/python -m tests.bench --write toolchain/docs/results.md
	$(BIN)/python -m tests.bench.shipped --write toolchain/docs/policies.md

dist: $(VENV)/test.done ## build the wheel and the source archive into dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .

# venv comes with every Python; the pip that fills it is the one outside, so a Debian without python3-venv is enough.
$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/core.done: requirements/core.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes --no-deps -r requirements/core.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# A part of what the tests need: enough for lint and the quick tests.
$(VENV)/check.done: requirements/check.txt $(VENV)/core.done
	$(PIP) --require-hashes --no-deps -r requirements/check.txt
	touch $@

$(VENV)/test.done: requirements/test.txt requirements/torch.txt $(VENV)/core.done
	$(PIP) --require-hashes --no-deps -r requirements/test.txt
	$(PIP) --require-hashes --no-deps -r requirements/torch.txt || $(PIP) torch==2.13.0
	bash tests/system-packages.sh
	touch $(VENV)/check.done $@

# Leads the fuzzing by coverage; nothing else needs it.
$(VENV)/fuzz.done: requirements/fuzz.txt $(VENV)/test.done
	$(PIP) --require-hashes --no-deps -r requirements/fuzz.txt
	touch $@

lock: $(VENV)/test.done ## write requirements/*.txt again from pyproject.toml
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes --no-emit-package torch \
	  pyproject.toml --extra tf --extra sb3 --extra atari --extra firmware --extra probe --extra ray --extra plot --extra sign --extra minari --extra lerobot --extra hub --extra dm_control --extra dev -c requirements/constraints.in -o requirements/test.txt
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  pyproject.toml requirements/build.in -c requirements/constraints.in -c requirements/test.txt -o requirements/core.txt
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  requirements/check.in -c requirements/constraints.in -c requirements/test.txt -o requirements/check.txt
	$(BIN)/uv pip compile --quiet --no-deps --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  requirements/fuzz.in -o requirements/fuzz.txt
	$(BIN)/uv pip compile --quiet --no-deps --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  --python-platform aarch64-manylinux_2_28 requirements/pi.in -c requirements/core.txt -o toolchain/quarl/pi/wheels.txt
	$(BIN)/uv pip compile --quiet --no-deps --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  --python-platform aarch64-manylinux_2_35 requirements/pi_tflite_runtime.in -o toolchain/quarl/pi/wheels_tflite_runtime.txt

clean: ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
