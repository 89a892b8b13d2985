# What a newcomer types. Each target creates the environment in .venv once, if it is not there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: verify report test lint grade measure bench bench-grading power stability strangers

verify: .venv/installed
	$(BIN)/attest verify

report: .venv/installed
	$(BIN)/attest report

# What is slow, wrong versions by the thousand among it, and the correct styles run without coverage,
# which would take half as long again and finds hardly a line there that the other tests leave out.
SIDE_BY_SIDE := -n auto --dist worksteal

test: .venv/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not styles" \
		--cov --cov-branch --cov-report=term
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "slow or styles"

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

grade: .venv/installed
	$(BIN)/attest grade $(SUBMISSION)

measure: .venv/installed
	$(BIN)/attest measure

bench: .venv/installed
	$(BIN)/python -m tests.benchmark

# How long grading takes, on an idle machine: one submission, and a class.
bench-grading: .venv/installed
	$(BIN)/python -m tests.grading_benchmark

# What the suite catches: every wrong version against every property, and every correct style.
power: .venv/installed
	$(BIN)/python -m tests.power

# What it makes of wrong versions by somebody who never saw it.
strangers: .venv/installed
	$(BIN)/python -m tests.strangers

# Whether it ever accuses correct code: 200 seeds.
stability: .venv/installed
	$(BIN)/python -m tests.stability

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[test,lint,measure,cluster]'
	touch $@
