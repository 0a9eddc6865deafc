SHELL := bash
.SHELLFLAGS := -euo pipefail -c
IN_ENVIRONMENT := EXTRAS=dev,onnx; source scripts/_environment.sh;

# Published tables that some benchmarks are measured on; those are skipped where it is missing.
PUBLISHED_DATA ?= ../shared/published
export PUBLISHED_DATA := $(abspath $(PUBLISHED_DATA))

.PHONY: check test lint types docs bench

check: test lint types

test:
	scripts/test

lint:
	$(IN_ENVIRONMENT) ruff check . && ruff format --check .

types:
	$(IN_ENVIRONMENT) mypy --num-workers 2 --strict expertise_graph

docs:
	scripts/test -m "slow or not slow" tests/test_readme.py

bench: IN_ENVIRONMENT := EXTRAS=bench; source scripts/_environment.sh;
bench:
	$(IN_ENVIRONMENT) for run in benchmarks/*/run; do "$$run"; done

# One of them, e.g. make bench-ranker.
bench-%: IN_ENVIRONMENT := EXTRAS=bench; source scripts/_environment.sh;
bench-%:
	$(IN_ENVIRONMENT) "benchmarks/$*/run"
