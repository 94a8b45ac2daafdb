# `make demo` and `make test` set up .venv by themselves; `make help` lists the rest.

PYTHON ?=
UV_VERSION := 0.13.9
PY := .venv/bin/python
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))
TYPED := src $(sort $(wildcard tools/*.py)) $(BENCHMARKS)
CODE := $(wildcard src tools tests benchmarks)

export PYTHON

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test format lint types contracts drift unit fmt data fit bench pins run-env dev-env clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile

demo: run-env ## estimate one request, then run a small usage log into out/demo
	.venv/bin/inferprint estimate llama-3.1-70b --input-tokens 1000 --output-tokens 300
	.venv/bin/inferprint run examples/usage.csv --out out/demo --overwrite

test: format lint types contracts drift unit ## every check, in this order

format: dev-env ## is the code formatted?
	@$(PY) -m ruff format --check $(CODE)

lint: dev-env ## ruff, rules in pyproject.toml
	@$(PY) -m ruff check $(CODE)

types: dev-env ## mypy --strict
	@$(PY) -m mypy $(TYPED)

contracts: dev-env ## do imports point one way?
	@.venv/bin/lint-imports --no-logo

drift: dev-env ## do the generated files match what they are made from?
	@$(PY) tools/match_prices.py --check
	@$(PY) tools/prices.py --check
	@$(PY) tools/fit_shapes.py --check
	@$(PY) tools/fit_sizes.py --check
	@$(PY) tools/fit_media.py --check
	@$(PY) tools/build_catalogue.py --check
	@$(PY) tools/readme.py --check

unit: dev-env ## pytest; ARGS='-k name' selects
	@tools/unit.sh $(ARGS)

fmt: dev-env ## format, and mend what ruff can mend
	@$(PY) -m ruff check --fix-only $(CODE)
	@$(PY) -m ruff format $(CODE)

data: dev-env ## rebuild the generated data, the packaged catalogue and the README's example
	@$(PY) tools/match_prices.py
	@$(PY) tools/prices.py
	@$(PY) tools/fit_shapes.py
	@$(PY) tools/fit_sizes.py
	@$(PY) tools/fit_media.py
	@$(PY) tools/build_catalogue.py
	@$(PY) tools/readme.py

fit: dev-env ## learn the coefficients again from data/benchmarks, and score them (a minute); report in out/fit
	@$(PY) tools/fit.py
	@$(PY) tools/readme.py
	@$(PY) docs/generate.py

bench: dev-env ## run every script in benchmarks/
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(PY) "$$script"; done

pins: dev-env ## pin the requirements again; UPGRADE=--upgrade moves them to the newest releases
	@$(PY) -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	@tools/pin.sh $(UPGRADE)

run-env:
	@tools/bootstrap.sh run

dev-env:
	@tools/bootstrap.sh dev

clean: ## remove .venv and everything generated
	rm -rf .venv out dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tools tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
