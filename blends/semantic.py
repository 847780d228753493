"""Semantic duplicates: rows that ask and answer the same in other words, by the cosine of their embeddings.

What is dropped is decided as for near-duplicates: a row goes for the best row near it that stays itself. So rows are
looked at best first, and each that stays is compared with all behind it that are left: at most n²/2 products of
vectors, block by block, with the vectors on disk. In memory there are two blocks and some 30 bytes per row.

Source: SemDeDup (Abbas et al. 2023, https://arxiv.org/abs/2303.09540), here without its clustering.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blends.cache import cached
from blends.near import NEAR, Ranked
from blends.shingles import Places
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
        """Each row that is at least as similar as the threshold to a better row that stays, after the best of these."""
        depends_on = [self._threshold, self._embedder.model, fingerprint(bench.store, "compared")]
        return cached("semantic", depends_on, lambda: self._compare(bench))

    def _compare(self, bench: Workbench) -> pa.Table:
        ranked = Ranked.of(bench.store)
        if not len(ranked.rows):
            return NEAR.empty_table()
        vectors = asyncio.run(self._vectors(bench))
        best, similarity = nearest_staying(
            lambda ranks: vectors[ranked.rows[ranks]],
            len(ranked.rows),
            ranked.earlier,
            self._threshold,
            lambda done: bench.say(f"semantic duplicates: {done:,} of {len(ranked.rows):,} rows"),
        )
        lost = np.flatnonzero(best >= 0)
        return pa.table([ranked.rows[best[lost]], ranked.rows[lost], similarity[lost]], schema=NEAR)

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


def nearest_staying(
    vectors: Callable[[Places], NDArray[np.float32]],
    count: int,
    earlier: int,
    threshold: float,
    say: Callable[[int], None],
) -> tuple[Places, NDArray[np.float64]]:
    """For each of `count` ranks the best one that stays and is as similar as the threshold, or -1, and how similar.

    The best `earlier` ones stay in any case. `vectors` gives the unit vectors of ranks.
    """
    best, similarity = np.full(count, -1), np.zeros(count)
    for start in range(0, count, BLOCK):
        block = np.arange(start, min(start + BLOCK, count))
        block = block[best[block] < 0]
        ours = vectors(block)
        alike = ours @ ours.T
        near, left = np.triu(alike >= threshold, 1), block >= earlier
        for place in np.flatnonzero(near.any(axis=1)).tolist():
            if best[block[place]] < 0:
                gone = np.flatnonzero(near[place] & left)
                best[block[gone]], similarity[block[gone]] = block[place], alike[place, gone]
                left[gone] = False
        staying = best[block] < 0
        block, ours = block[staying], ours[staying]
        for other in range(start + BLOCK, count if len(block) else 0, BLOCK):
            ranks = np.arange(max(other, earlier), min(other + BLOCK, count))
            ranks = ranks[best[ranks] < 0]
            alike = ours @ vectors(ranks).T
            gone = np.flatnonzero((alike >= threshold).any(axis=0))
            first = (alike[:, gone] >= threshold).argmax(axis=0)
            best[ranks[gone]], similarity[ranks[gone]] = block[first], alike[first, gone]
        say(min(start + BLOCK, count))
    return best, similarity


def _texts(bench: Workbench) -> Iterator[tuple[int, str]]:
    for batch in bench.pool(["messages"], "compared"):
        yield from zip(batch["row"].to_pylist(), map(_passage, batch["messages"].to_pylist()), strict=True)


def _passage(messages: Sequence[Mapping[str, Any]]) -> str:
    """What was asked first and answered last; of a conversation without users, what was said first."""
    said = [message for message in messages if message["content"]]
    asked = next((str(message["content"]) for message in said if message["role"] == "user"), "")
    answer = next((str(message["content"]) for message in reversed(said) if message["role"] == "assistant"), "")
    return passage(asked, answer) or (str(said[0]["content"]) if said else "")
