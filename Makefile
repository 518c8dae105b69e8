# `make` lists the targets. Everything runs in .venv; all results go to out/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
CPP := $(wildcard plugins/diirf/*.cpp plugins/diirf/*.cu plugins/diirf/*.cuh plugins/diirf/*.h tests/plugins/*.cpp tests/plugins/*.h)
# Half of the suite's time is waiting for servers. A file's tests stay in one process: they share servers.
PARALLEL := -n 2 --dist loadfile
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo serve console perf bench scaling tuning fuzz leaks real-check test test-fast test-all check format docs wheel export plugin engines-check gpu-check gpu-all image-check cluster-demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/serve.stamp ## score four clips on the real server (no GPU, no Docker, no torch); write out/demo/report.html
	$(BIN)/eulernet demo

serve: .venv/serve.stamp ## run the embedded server on loopback until Ctrl-C
	$(BIN)/eulernet serve

console: .venv/console.stamp ## serve, and open the console in the browser: camera, files, the server's state; until Ctrl-C
	$(BIN)/eulernet serve -- $(BIN)/eulernet console --open

perf: .venv/perf.stamp ## Triton's perf_analyzer and the load tester by turns on the embedded server; report in out/perf
	$(BIN)/eulernet demo-clips --out out/demo/clips
	$(BIN)/eulernet serve --grpc-port 0 --metrics-port 0 --health-port 0 --log out/perf/server.log -- \
	  $(BIN)/eulernet perf out/demo/clips --mode clips --mode streams --concurrency 1,2,4,8 --out out/perf

bench: .venv/bench.stamp ## compare with FastAPI, LitServe, MiniFASNet; BEFORE=TREE: and an earlier commit; writes docs/peers.md (idle machine)
	$(BIN)/python -m benchmarks.peers --out out/bench --docs docs $(if $(BEFORE),--before '$(BEFORE)') $(if $(MINIFASNET),--minifasnet '$(MINIFASNET)')

scaling: .venv/bench.stamp ## measure how the server scales; writes docs/scaling.md (idle machine)
	$(BIN)/python -m benchmarks.scaling --out out/scaling --docs docs

tuning: .venv/bench.stamp ## measure the effect of single settings; writes docs/tuning.md (idle machine)
	$(BIN)/python -m benchmarks.tuning --out out/tuning --docs docs

fuzz: .venv/fuzz.stamp ## attack the server beside good callers, 20 minutes; writes docs/reliability.md
	$(BIN)/python -m benchmarks.reliability fuzz --inputs 10000 --seed 1 --out out/reliability --docs docs

leaks: .venv/test.stamp ## mixed load with faults, sampled for 10 minutes; writes docs/reliability.md
	$(BIN)/python -m benchmarks.reliability leaks --minutes 10 --out out/reliability --docs docs

real-check: .venv/test.stamp ## score real pictures of the package index; MINIFASNET=DIR to compare; writes docs/real_world.md
	$(BIN)/python -m benchmarks.real_check --out out/real_check --docs docs $(if $(MINIFASNET),--minifasnet '$(MINIFASNET)')

test: .venv/test.stamp ## run the tests, without those marked slow or network (installs torch)
	$(BIN)/pytest $(PARALLEL) -m "not slow and not network"

test-fast: .venv/test.stamp ## run the tests that need no server, in under two minutes
	$(BIN)/pytest -m "not slow and not network and not triton" tests/core tests/serving tests/client tests/loadtest tests/docs tests/test_house.py

test-all: .venv/test.stamp ## run all tests, also the long ones and the ones that need a package index
	$(BIN)/pytest

check: .venv/test.stamp ## format, lint, types, tests: CI runs this
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy
	$(BIN)/pytest $(PARALLEL) -m "not slow and not network"

format: .venv/test.stamp ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

docs: .venv/test.stamp ## build the documentation site into out/docs; fails on a broken link (Python 3.11)
	$(BIN)/python -m docs.generate

wheel: .venv/test.stamp ## build the source distribution and the wheel into out/dist
	$(BIN)/python -m build --outdir out/dist

export: .venv/test.stamp ## write the served graphs from the checkpoint
	$(BIN)/eulernet export

plugin: ## build the TensorRT plugins into out/plugins (needs nvcc, cmake and TensorRT's headers)
	$(PYTHON) plugins/diirf/build.py

engines-check: .venv/test.stamp ## build all plans for six kinds of GPU with TensorRT for RTX, without a GPU (minutes)
	$(BIN)/pytest tests/build/test_builder.py tests/build/test_engine_targets.py tests/build/test_plan_checks.py

gpu-check: ## check kernels and plans on this machine's GPU: results, sanitizer, speed (docs/gpu.md)
	$(BIN)/eulernet gpu-check

gpu-all: ## gpu-check, then the GPU server: golden answers, throughput, p99 beside the CPU's and FastAPI; writes docs/gpu.md
	$(BIN)/python -m benchmarks.gpu all --out out/gpu --docs docs

image-check: .venv/test.stamp ## build and run the CPU image with podman, as root; skips with the reason where it can't
	$(BIN)/python -m deploy.image.image_check

cluster-demo: .venv/test.stamp ## two replicas and the chart's gateway on this machine; one is killed under load
	$(BIN)/eulernet demo-clips --out out/demo/clips
	GRPC_VERBOSITY=error $(BIN)/python -m deploy.gateway.cluster_demo out/demo/clips/*.mp4

clean: ## remove .venv and out
	rm -rf .venv out

# The extras grow: serving needs no torch, testing needs everything.
.venv/serve.stamp: pyproject.toml constraints.txt
	@PYTHONPATH=core:serving $(PYTHON) -m eulernet_serving.triton_wheel
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[serve,client]'
	touch $@

.venv/console.stamp: .venv/serve.stamp
	$(PIP) --editable '.[serve,client,console]'
	touch $@

.venv/perf.stamp: .venv/serve.stamp
	$(PIP) --editable '.[serve,client,loadtest]'
	touch $@

.venv/bench.stamp: .venv/serve.stamp
	$(PIP) --editable '.[bench,build]'
	touch $@

.venv/test.stamp: .venv/serve.stamp
	$(PIP) --editable '.[test]'
	touch $@

.venv/fuzz.stamp: .venv/test.stamp
	$(PIP) --editable '.[test,fuzz]'
	touch $@
