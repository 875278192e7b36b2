# The front door. `make run` plans a real model, `make test` passes the tests; both install and build what they need.
.DEFAULT_GOAL := run
SHELL := /bin/bash
JOBS ?= $(shell nproc)
PLAN ?= Llama-3.1-70B --gpus 8xH100 --isl 2000 --osl 300

# $(call with_vllm,NAME,COMMAND): runs COMMAND where VLLM_PYTHON has vLLM installed, else says that NAME is skipped.
VLLM_PYTHON ?= python3
with_vllm = if $(VLLM_PYTHON) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("vllm") is None)' 2>/dev/null; \
  then $(2); else echo "$(1): SKIPPED, $(VLLM_PYTHON) has no vLLM installed (give VLLM_PYTHON=.../bin/python)"; fi

.PHONY: help run configure build install test bench packages lint tidy cases accuracy sanitize install-test fuzz differential hybrid-plans clean

help:  ## what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

packages:  ## the Debian/Ubuntu packages of apt-packages.txt
	@tools/checks/packages.sh apt-packages.txt

configure: packages  # WERROR=1: warnings are errors
	@cmake --preset release $(if $(WERROR),-DSHARDWISE_WERROR=ON) >build-configure.log 2>&1 || { cat build-configure.log; rm -f build-configure.log; exit 1; }; rm -f build-configure.log

build: configure  ## the optimised binary, build/release/shardwise
	@cmake --build --preset release -j$(JOBS) --target shardwise

PREFIX ?= /usr/local
install: build  ## the binary, the library and its headers below PREFIX (/usr/local)
	cmake --install build/release --prefix $(PREFIX)

run: build  ## plan a real model
	./build/release/shardwise plan $(PLAN)

test: configure  ## in the same build, which has assertions: a real plan, then unit, golden, property, oracle and text-case tests
	@cmake --build --preset release -j$(JOBS)
	./build/release/shardwise plan $(PLAN)
	cd build/release && ctest --output-on-failure -j$(JOBS)
	python3 tests/cases/run.py build/release/shardwise
	python3 tests/cases/asked_again.py build/release/shardwise

cases: build  ## rewrite the expected output of tests/cases and the README's session after a wanted change
	python3 tests/cases/run.py build/release/shardwise --update

bench: build  ## google-benchmark programs and the cold command
	@cmake --build --preset release -j$(JOBS) --target benches
	@for b in build/release/bench/*_bench; do [ -x "$$b" ] && "$$b" --benchmark_min_time=0.2; done
	@bench/cold.sh build/release/shardwise
	@$(call with_vllm,bench against vLLM's own rebalancing,$(VLLM_PYTHON) bench/eplb_vllm.py build/release/bench/eplb_bench)

accuracy: build  ## predictions of rows the fit has not seen, beside AIConfigurator's
	@cmake --build --preset release --target fit_serving -j$(JOBS)
	@build/release/fit_serving bench/data/serving.csv --baseline bench/data/aiconfigurator.csv --ranking bench/data/layouts.csv --report docs/accuracy.md --date "$$(date +%F)"

lint: packages  ## formatting, layer table, headers that compile alone; every other line meets clang in `make sanitize`
	@tools/checks/lint.sh

tidy: packages  ## clang-tidy with the short list of .clang-tidy on every source; FILES='src/sim/*.cc' for some
	@tools/checks/tidy.sh $(FILES)

sanitize: packages  ## the tests under address, undefined-behaviour and thread sanitizers
	@tools/checks/sanitize.sh

install-test: build  ## find_package(shardwise) from a project of its own
	@tests/install/run.sh

fuzz: packages  ## libFuzzer on every reader, FUZZ_SECONDS each
	@tools/checks/packages.sh tools/checks/lint-packages.txt
	@tests/fuzz/run.sh $(or $(FUZZ_SECONDS),30)

differential:  ## N random commands (SEED) asked of shardwise and of the vLLM that VLLM_PYTHON has installed; docs/oracle.md
	@$(call with_vllm,differential,$(MAKE) --no-print-directory build && \
	  $(VLLM_PYTHON) tools/oracle/differential.py build/release/shardwise --n $(or $(N),300) --seed $(or $(SEED),1))

hybrid-plans:  ## N questions (SEED) about models with recurrent states: does every command that plan emits stand? docs/oracle.md
	@$(MAKE) --no-print-directory build && \
	  $(or $(VLLM_PYTHON),python3) tools/oracle/hybrid_plans.py build/release/shardwise --n $(or $(N),105) --seed $(or $(SEED),3)

clean:  ## remove build/
	rm -rf build
