"""Which training texts give away a benchmark: copies found by text, by code, by shared n-grams and by embeddings."""

from gristmill.decontamination.benchmarks import Benchmark, Item, read_benchmark
from gristmill.decontamination.index import METHODS, Hit, Index
from gristmill.decontamination.texts import record_texts

__all__ = ["METHODS", "Benchmark", "Hit", "Index", "Item", "read_benchmark", "record_texts"]
