# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.setup-done
PIP := $(BIN)/pip --disable-pip-version-check
# Debian packages that the tests need; installed where root or sudo is there, else tests say so.
DEBIAN := mosquitto systemd
SUDO := $(shell if [ "$$(id -u)" != 0 ]; then command -v sudo; fi)
MAY_INSTALL := $(shell command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; } && echo yes)
# Plain torch brings gigabytes of CUDA. The CPU build's index is an extra one, asked briefly, so
# that a machine that cannot reach it still installs.
CPU_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 20
TORCH_INDEX := $(if $(shell command -v nvidia-smi),,$(CPU_INDEX))

.PHONY: help setup demo test test-slow proof soak bench check format schema dist homeassistant-app clean
help:
	@echo "make demo       watch two drawn cameras for a while, alerts over MQTT, nothing needed"
	@echo "make test       checks and tests     make test-slow  full-size models, long proofs"
	@echo "make soak       the daemon among faults for MINUTES=5, judged"
	@echo "make bench      the README's figures of speed, on this machine"
	@echo "make check      linters and types    make format     format the code"
	@echo "make setup      the environment in $(VENV)    make dist  wheel and sdist in dist"

setup: $(DONE)

$(DONE): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "smolwatch needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
ifeq ($(MAY_INSTALL),yes)
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv; }
	@{ PATH="$$PATH:/usr/sbin"; command -v mosquitto && command -v systemd-analyze; } >/dev/null \
	  || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends $(DEBIAN); } \
	  || echo "could not install $(DEBIAN): the tests that need them will be skipped"
endif
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip
	$(PIP) install -q $(TORCH_INDEX) torch==2.13.0
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $(DONE)

demo: $(DONE)
	@$(BIN)/smolwatch demo

check: $(DONE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Tests wait a lot, for cameras and brokers: two at a time. JOBS=0: one after another.
JOBS ?= 2
test: check
	$(BIN)/pytest -n $(JOBS) --dist loadfile

test-slow: $(DONE)
	$(BIN)/pytest -m slow --timeout 900

# Ten rules over more than four hours of drawn scenes: half an hour on two cores. Interrupted, it
# goes on where it was. `test-slow` plays two of the scripts, `test` holds the figures to the README.
proof: $(DONE)
	mkdir -p build/scene_proof
	$(BIN)/python -m tests.scene_proof build/scene_proof $$(nproc) docs/scene_proof.json
	rm -r build/scene_proof
	$(BIN)/pytest tests/test_scene_figures.py

# Cameras, broker, disk, configuration and the daemon itself fail at random; SEED=7 says when.
MINUTES ?= 5
SEED ?= 7
soak: $(DONE)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

# An hour on two cores with bfloat16 that have nothing else to do, longer without; 16 GB of memory
# for the 2.2B.
BENCH := $(BIN)/smolwatch bench --random-weights --baseline --threads 2 --limit-s 3600
bench: $(DONE)
	@mkdir -p build
	$(BIN)/smolwatch bench --baseline --threads 2
	$(BENCH) --model 256m --cameras 4 --chart build/bench-256m.png
	$(BENCH) --model 256m --precision int8
	$(BENCH) --model 256m --engine torch
	$(BENCH) --model 500m
	$(BENCH) --model 500m --engine torch
	$(BENCH) --model 2.2b --runs 2
	$(BENCH) --model 2.2b --runs 2 --engine torch
	$(BIN)/smolwatch bench compare --random-weights --threads 2 --limit-s 3600
	$(BIN)/python -m tests.bench.bench_memory 256m 500m --threads 2 --ways torch:f32 openvino:f32
	$(BIN)/smolwatch bench capture

format: $(DONE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(DONE)
	$(BIN)/python -m daemon.config > configs/config.schema.json
	$(BIN)/python -m daemon.mqtt.reference
	$(BIN)/python -m daemon.config_reference > docs/configuration.md

dist: $(DONE)
	$(BIN)/python -m build --no-isolation

homeassistant-app: dist
	rm -rf dist/homeassistant_app && cp -r configs/homeassistant_app dist/
	cp constraints.txt "$$(ls -t dist/*.whl | head -1)" dist/homeassistant_app/

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
