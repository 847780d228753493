"""Semantic duplicates: rows that ask and answer the same in other words, by the cosine of their embeddings.

All pairs are compared, block by block, with the vectors on disk: n²/2 products of vectors, so 100,000 rows of 384
numbers take a minute or two of a core, and a million some hours. What is dropped is decided as for near-duplicates.

Source: SemDeDup (Abbas et al. 2023, https://arxiv.org/abs/2303.09540), here without its clustering.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blends.cache import cached
from blends.near import NEAR, Ranked
from blends.store import fingerprint
from blends.workbench import Workbench
from gristmill.decontamination.similarity import passage, unit_rows
from gristmill.embedding import Embedder
from schemas.blend_config import BlendConfig
from schemas.run_config import ModelConfig

CHUNK = 1024  # texts that are embedded at a time
BLOCK = 4096  # rows whose vectors are multiplied at a time


class SemanticDedup:
    """The embedder is looked at before a row is read."""

    def __init__(self, threshold: float, model: ModelConfig) -> None:
        self._threshold = threshold
        self._embedder = Embedder(model)

    @classmethod
    def of(cls, config: BlendConfig) -> Self | None:
        threshold = config.gates.dedup.semantic
        return cls(threshold, config.models["embedder"]) if threshold is not None else None

    def pairs(self, bench: Workbench) -> pa.Table:
        """All pairs that are at least as similar as the threshold, the better row first."""
        depends_on = [self._threshold, self._embedder.model, fingerprint(bench.store, "compared")]
        return cached("semantic", depends_on, lambda: self._compare(bench))

    def _compare(self, bench: Workbench) -> pa.Table:
        rows = Ranked.of(bench.store).rows
        if not len(rows):
            return NEAR.empty_table()
        vectors = asyncio.run(self._vectors(bench))
        parts = [NEAR.empty_table()]
        for start in range(0, len(rows), BLOCK):
            block = vectors[rows[start : start + BLOCK]]
            for other in range(start, len(rows), BLOCK):
                alike = block @ vectors[rows[other : other + BLOCK]].T
                first, second = np.nonzero(alike >= self._threshold)
                ahead = start + first < other + second
                first, second = first[ahead], second[ahead]
                pairs = [rows[start + first], rows[other + second], alike[first, second].astype(np.float64)]
                parts.append(pa.table(pairs, schema=NEAR))
            bench.say(f"semantic duplicates: {min(start + BLOCK, len(rows)):,} of {len(rows):,} rows")
        return pa.concat_tables(parts)

    async def _vectors(self, bench: Workbench) -> NDArray[np.float32]:
        """The unit vector of each row at its number, in a file that is mapped into memory."""
        texts = _texts(bench)
        vectors: NDArray[np.float32] | None = None
        async with self._embedder as embedder:
            while chunk := list(islice(texts, CHUNK)):
                made = unit_rows(await embedder.embed([text for _, text in chunk]))
                if vectors is None:
                    shape = (bench.stage.rows, made.shape[1])
                    vectors = np.memmap(bench.folder / "vectors", np.float32, "w+", shape=shape)
                vectors[[row for row, _ in chunk]] = made
                bench.say(f"embedding: {chunk[-1][0] + 1:,} of {bench.stage.rows:,} rows")
        assert vectors is not None, "there are rows"
        return vectors


def _texts(bench: Workbench) -> Iterator[tuple[int, str]]:
    for batch in bench.pool(["messages"], "compared"):
        yield from zip(batch["row"].to_pylist(), map(_passage, batch["messages"].to_pylist()), strict=True)


def _passage(messages: Sequence[Mapping[str, Any]]) -> str:
    """What was asked first and answered last; of a conversation without users, what was said first."""
    said = [message for message in messages if message["content"]]
    asked = next((str(message["content"]) for message in said if message["role"] == "user"), "")
    answer = next((str(message["content"]) for message in reversed(said) if message["role"] == "assistant"), "")
    return passage(asked, answer) or (str(said[0]["content"]) if said else "")
