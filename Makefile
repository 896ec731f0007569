# make demo   set up without root and run the main job on shipped policies
# make test   set up everything the tests need and run them          make test-all   the slow sweeps too
# make bench  the numbers quarl promises, measured here              make lint       ruff, clang-format and mypy
# make lock   write requirements/*.txt again from pyproject.toml       make results    the bench's tables into toolchain/docs
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
C_FILES = $(shell git ls-files 'firmware_harness/*.c' 'firmware_harness/*.h' 'firmware_harness/*.cpp' ':!firmware_harness/host')
PIP := $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check
# Two cores are shared by the test workers: a maths library with threads of its own would only wait for itself.
export OMP_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-all bench results lint format lock clean

demo: $(VENV)/core.done
	$(BIN)/quarl ship cartpole_ppo --out demo/cartpole_ppo
	$(BIN)/quarl ship nav_ppo --out demo/nav_ppo
	$(BIN)/quarl ship pendulum_sac --out demo/pendulum_sac

test: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests

test-all: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

bench: $(VENV)/test.done
	$(BIN)/quarl doctor --install pi-emulator
	$(BIN)/python -m tests.bench

results: $(VENV)/test.done
	$(BIN)/quarl doctor --install pi-emulator
	$(BIN)/python -m tests.bench --write toolchain/docs/results.md
	$(BIN)/python -m tests.bench.shipped --write toolchain/docs/policies.md

lint: $(VENV)/test.done
	$(BIN)/ruff check toolchain tests
	$(BIN)/ruff format --check toolchain tests
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/mypy

format: $(VENV)/test.done
	$(BIN)/ruff check --fix toolchain tests
	$(BIN)/ruff format toolchain tests
	$(BIN)/clang-format -i $(C_FILES)

# venv comes with every Python; the pip that fills it is the one outside, so a Debian without python3-venv is enough.
$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/core.done: requirements/core.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes --no-deps -r requirements/core.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/test.done: requirements/test.txt requirements/torch.txt $(VENV)/core.done
	$(PIP) --require-hashes --no-deps -r requirements/test.txt
	$(PIP) --require-hashes --no-deps -r requirements/torch.txt || $(PIP) torch==2.13.0
	bash tests/system-packages.sh
	touch $@

lock: $(VENV)/test.done
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes --no-emit-package torch \
	  pyproject.toml --extra tf --extra sb3 --extra atari --extra firmware --extra probe --extra dev -c requirements/constraints.in -o requirements/test.txt
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  pyproject.toml requirements/build.in -c requirements/constraints.in -c requirements/test.txt -o requirements/core.txt
	$(BIN)/uv pip compile --quiet --no-deps --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  --python-platform aarch64-manylinux_2_28 requirements/pi.in -c requirements/core.txt -o toolchain/quarl/pi/wheels.txt
	$(BIN)/uv pip compile --quiet --no-deps --no-annotate --no-header --no-emit-index-url --python-version 3.11 --generate-hashes \
	  --python-platform aarch64-manylinux_2_35 requirements/pi_tflite_runtime.in -o toolchain/quarl/pi/wheels_tflite_runtime.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
