# `make demo` and `make test` set up everything they need in .venv; `make check-long` holds the slow proofs.

BIN := .venv/bin

.PHONY: help setup test demo check-long format clean

help:
	@echo "make demo        swap the two rendered people of examples/pair in ./demo (about ten minutes)"
	@echo "make test        format, lint, types and the quick tests"
	@echo "make check-long  the slow tests"
	@echo "make format      let ruff format and mend what it can"

# Installs again only when what is to be installed has changed.
.venv/.installed: pyproject.toml .ci/setup
	@sh .ci/setup

setup: .venv/.installed

test: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pytest -m "not slow" --numprocesses auto --dist loadfile

check-long: .venv/.installed
	$(BIN)/pytest -m slow

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Called again, it continues where it stopped and trains six minutes more.
demo: .venv/.installed
	$(BIN)/swap demo

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
