# `make` lists the targets. Everything runs in .venv; what is made goes to out/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo serve perf bench scaling tuning test check format export plugin gpu-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/serve.stamp ## score the demo clips on the real server (no GPU, no Docker, no torch) and write out/demo/report.html
	$(BIN)/eulernet demo-clips --out out/demo/clips
	$(BIN)/eulernet serve --http-port 0 --grpc-port 0 --metrics-port 0 --log out/demo/server.log -- \
	  $(BIN)/eulernet score out/demo/clips --report out/demo/report.html

serve: .venv/serve.stamp ## run the embedded server on loopback until Ctrl-C
	$(BIN)/eulernet serve

perf: .venv/perf.stamp ## Triton's perf_analyzer and our load tester side by side on the embedded server; report in out/perf
	$(BIN)/eulernet demo-clips --out out/demo/clips
	$(BIN)/eulernet serve --http-port 0 --grpc-port 0 --metrics-port 0 --log out/perf/server.log -- \
	  $(BIN)/eulernet perf out/demo/clips --mode clips --mode streams --concurrency 1,2,4,8 --out out/perf

bench: .venv/bench.stamp ## this server beside FastAPI and LitServe: same weights, clips and scores; writes docs/peers.md (idle machine)
	$(BIN)/python -m benchmarks.peers --out out/bench --docs docs

scaling: .venv/bench.stamp ## measure how the server scales; writes docs/scaling.md (idle machine)
	$(BIN)/python -m benchmarks.scaling --out out/scaling --docs docs

tuning: .venv/bench.stamp ## measure what single settings do; writes docs/tuning.md (idle machine)
	$(BIN)/python -m benchmarks.tuning --out out/tuning --docs docs

test: .venv/test.stamp ## run all tests (installs torch)
	$(BIN)/pytest

check: .venv/test.stamp ## format, lint, types, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

format: .venv/test.stamp ## rewrite the code as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

export: .venv/test.stamp ## write the graphs that model_repository/ serves, from the checkpoint
	$(BIN)/eulernet export

plugin: ## build the TensorRT plugins into out/plugins (needs nvcc, cmake and TensorRT's headers)
	$(PYTHON) plugins/diirf/build.py

gpu-check: ## check kernels and plans on this machine's GPU: right? clean? fast? (docs/gpu.md)
	$(BIN)/eulernet gpu-check

clean: ## remove .venv and out
	rm -rf .venv out

# The extras grow: what serves needs no torch, what tests needs everything.
.venv/serve.stamp: pyproject.toml constraints.txt
	@PYTHONPATH=build $(PYTHON) -m eulernet_build.triton
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[serve,client]'
	touch $@

.venv/perf.stamp: .venv/serve.stamp
	$(PIP) --editable '.[serve,client,loadtest]'
	touch $@

.venv/bench.stamp: .venv/serve.stamp
	$(PIP) --editable '.[bench]'
	touch $@

.venv/test.stamp: .venv/serve.stamp
	$(PIP) --editable '.[test]'
	touch $@
