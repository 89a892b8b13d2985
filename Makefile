# What a newcomer types. Each target creates the environment in .venv once, if it is not there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: verify report test lint grade bench

verify: .venv/installed
	$(BIN)/attest verify

report: .venv/installed
	$(BIN)/attest report

test: .venv/installed
	$(BIN)/python -m pytest -m "" -n auto --dist worksteal --cov --cov-branch --cov-report=term

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

grade: .venv/installed
	$(BIN)/attest grade $(SUBMISSION)

bench: .venv/installed
	$(BIN)/python -m tests.benchmark

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[test,lint]'
	touch $@
