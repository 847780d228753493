"""Near-duplicates among all rows that are compared, across sources and against earlier releases, in bounded memory.

1. Each row's text gets a signature, whose bands are kept on disk: 8 bytes per row and band (21 bands at 0.8).
2. In each band rows with the same key are candidates: each is paired with the best row of its bucket and with the one
   before it, so that a bucket of n rows costs 2n pairs, not n². The texts of all candidates are put together.
3. Each pair is verified: the exact Jaccard similarity of its texts.
4. What is near a better row that stays goes. Steps 2 to 4 are done again with the candidates that are left until
   nothing more goes: a row that was alone in its buckets stays alone.

In memory there are some 60 bytes per row and some 100 per pair.

`near` in the store holds the verified pairs, the better row first; the splits keep such rows together.
"""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from blends.shingles import Bands, Keys, Places, band_keys, bands_for, similarities
from blends.stage import Stage
from blends.store import BEST_FIRST
from blends.workbench import Workbench

CHARACTERS_AT_ONCE = 4_000_000
PAIRS_AT_ONCE = 100_000
NEAR = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("similarity", pa.float64())])
SAID = pa.schema([("said", pa.string())])
_Compared = tuple[Places, Places, Places, Places, pa.StringArray]
"""Pairs of ranks, where the text of each lies, and the texts."""


class Ranked(NamedTuple):
    """The rows that are compared, best first; the first `earlier` of them belong to earlier releases."""

    rows: Places
    characters: Places
    earlier: int

    @classmethod
    def of(cls, store: duckdb.DuckDBPyConnection) -> "Ranked":
        found = store.sql(f"SELECT row, characters, earlier FROM compared ORDER BY {BEST_FIRST}").fetchnumpy()
        return cls(np.asarray(found["row"]), np.asarray(found["characters"], np.int64), int(found["earlier"].sum()))


def find_near(bench: Workbench, threshold: float) -> pa.Table:
    """All verified pairs of near-duplicates as a table like `near`."""
    ranked = Ranked.of(bench.store)
    bands = _write_bands(bench, bands_for(threshold))
    near = _Pairs.none()
    seen = candidates = _candidates(bands, ranked, np.arange(len(ranked.rows)))
    met = np.unique(np.concatenate(_halves(seen)))
    rows = np.sort(ranked.rows[met])
    said = _gather(bench, rows)
    while len(candidates):
        bench.say(f"comparing {len(candidates):,} pairs of rows")
        compared = bench.executor.map(_compare, _chunks(said, rows, ranked, candidates))
        near = _Pairs.joined([near, *(pairs.at_least(threshold) for pairs in compared)])
        lost = losers(len(ranked.rows), ranked.earlier, near.first, near.second)
        candidates = np.setdiff1d(_candidates(bands, ranked, met[lost[met] < 0]), seen, assume_unique=True)
        seen = np.union1d(seen, candidates)
    return pa.table([ranked.rows[near.first], ranked.rows[near.second], near.similarity], schema=NEAR)


def losers(count: int, earlier: int, first: Places, second: Places) -> Places:
    """For each of `count` ranks the better one that it goes for, or -1 where it stays.

    `first` and `second` are pairs of ranks, the better first. A row goes for the best near one that stays itself; rows
    of earlier releases, the best `earlier` ones, stay.
    """
    lost = array("q", [-1]) * count
    order = np.lexsort((first, second))
    for start in range(0, len(order), PAIRS_AT_ONCE):
        part = order[start : start + PAIRS_AT_ONCE]
        for worse, better in zip(second[part].tolist(), first[part].tolist(), strict=True):
            if worse >= earlier and lost[worse] < 0 and lost[better] < 0:
                lost[worse] = better
    return np.frombuffer(lost, np.int64) if count else np.empty(0, np.int64)


class _Pairs(NamedTuple):
    """Pairs of ranks, the better one first, with their similarities."""

    first: Places
    second: Places
    similarity: "np.ndarray[tuple[int], np.dtype[np.float64]]"

    @classmethod
    def none(cls) -> "_Pairs":
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    @classmethod
    def joined(cls, several: "list[_Pairs]") -> "_Pairs":
        first, second, similarity = zip(*several, strict=True)
        return cls(np.concatenate(first), np.concatenate(second), np.concatenate(similarity))

    def at_least(self, threshold: float) -> "_Pairs":
        kept = self.similarity >= threshold
        return _Pairs(self.first[kept], self.second[kept], self.similarity[kept])


def _write_bands(bench: Workbench, bands: Bands) -> list[Path]:
    """A file for each band with the keys of all rows of the stage."""
    folder = bench.folder / "bands"
    folder.mkdir()
    paths = [folder / str(band) for band in range(bands.bands)]
    done = 0
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        work = (bench.texts(batch.select(["row", "messages"])) for batch in bench.stage.batches())
        for made in bench.executor.map(partial(band_keys, bands=bands), work):
            for file, keys in zip(files, made.T, strict=True):
                file.write(keys.tobytes())
            done += len(made)
            bench.say(f"signatures of {done:,} of {bench.stage.rows:,} rows")
    return paths


def _candidates(bands: list[Path], ranked: Ranked, alive: Places) -> Keys:
    """Pairs of ranks as numbers, the better in the upper half; ascending. No pair is within an earlier release."""
    found = np.empty(0, np.uint64)
    for band in bands:
        keys = np.fromfile(band, np.uint64)[ranked.rows[alive]]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        same = np.append(False, keys[1:] == keys[:-1])
        places = np.flatnonzero(same)
        starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))[places]
        second = alive[order[places]]
        for first in (alive[order[starts]], alive[order[places - 1]]):
            new = second >= ranked.earlier
            numbers = (first[new].astype(np.uint64) << np.uint64(32)) | second[new].astype(np.uint64)
            found = np.union1d(found, numbers)
    return found


def _halves(pairs: Keys) -> tuple[Places, Places]:
    """The better and the worse ranks of such numbers."""
    return (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(2**32 - 1)).astype(np.int64)


def _gather(bench: Workbench, rows: Places) -> Stage:
    """What is said in these rows, which ascend."""
    said = Stage(bench.folder / "said.arrow", SAID)
    for chosen in bench.stage.chosen(rows, ["messages"]):
        said.add(pa.table([bench.texts(chosen)], schema=SAID))
    return said


def _chunks(said: Stage, rows: Places, ranked: Ranked, candidates: Keys) -> Iterator[_Compared]:
    """Pairs with the texts that they are of, so many at a time that the texts fit into memory."""
    first, second = _halves(candidates)
    filled = np.cumsum(ranked.characters[first] + ranked.characters[second] + 1) // CHARACTERS_AT_ONCE
    for start, end in _runs(filled):
        ranks, places = np.unique(np.concatenate((first[start:end], second[start:end])), return_inverse=True)
        texts = said.take(np.searchsorted(rows, ranked.rows[ranks]))["said"].chunk(0)
        yield first[start:end], second[start:end], places[: end - start], places[end - start :], texts


def _runs(values: Places) -> Iterator[tuple[int, int]]:
    """Where each run of equal values starts and ends."""
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1)).tolist()
    yield from pairwise(edges)


def _compare(work: _Compared) -> _Pairs:
    first, second, one, other, texts = work
    return _Pairs(first, second, similarities(texts, one, other))
