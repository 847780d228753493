"""Near-duplicates among all rows that are compared, across sources and against earlier releases, in bounded memory.

1. Each row's text gets a signature, whose bands are kept on disk: 8 bytes per row and band (21 bands at 0.8).
2. In each band rows with the same key are candidates: each is paired with the best row of its bucket and with the one
   before it, so that a bucket of n rows costs 2n pairs, not n².
3. Each pair is verified: the exact Jaccard similarity of its texts.
4. What is near a better row that stays goes. Steps 2 to 4 are done again with what is left until nothing more goes.

`near` in the store holds the verified pairs, the better row first; the splits keep such rows together.
"""

from array import array
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from blends.shingles import Bands, Keys, Places, band_keys, bands_for, similarities
from blends.store import BEST_FIRST
from blends.workbench import Workbench

CHARACTERS_AT_ONCE = 4_000_000
NEAR = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("similarity", pa.float64())])


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
    seen = np.empty(0, np.uint64)
    alive = np.arange(len(ranked.rows))
    while True:
        candidates = np.setdiff1d(_candidates(bands, ranked, alive), seen, assume_unique=True)
        if not len(candidates):
            break
        seen = np.union1d(seen, candidates)
        bench.say(f"comparing {len(candidates):,} pairs of rows")
        verified = list(_verify(bench, ranked, candidates))
        near = _Pairs.joined([near, *(pairs.at_least(threshold) for pairs in verified)])
        lost = losers(len(ranked.rows), ranked.earlier, near.first, near.second)
        left = np.flatnonzero(lost < 0)
        if len(left) == len(alive):
            break
        alive = left
    rows = ranked.rows
    return pa.table([rows[near.first], rows[near.second], near.similarity], schema=NEAR)


def losers(count: int, earlier: int, first: Places, second: Places) -> Places:
    """For each of `count` ranks the better one that it goes for, or -1 where it stays.

    `first` and `second` are pairs of ranks, the better first. A row goes for the best near one that stays itself; rows
    of earlier releases, the best `earlier` ones, stay.
    """
    lost = array("q", [-1]) * count
    for worse, better in sorted(zip(second.tolist(), first.tolist(), strict=True)):
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


def _write_bands(bench: Workbench, bands: Bands) -> Keys:
    """The keys of all rows of the stage, of shape (bands, rows), in a file that is mapped into memory."""
    rows = bench.stage.rows
    keys: Keys = np.memmap(bench.folder / "bands", np.uint64, "w+", shape=(bands.bands, max(rows, 1)))
    work = ((batch["row"][0].as_py(), bench.texts(batch)) for batch in bench.stage.batches() if batch.num_rows)
    for first, made in bench.executor.map(partial(_keys_of, bands), work):
        keys[:, first : first + len(made)] = made.T
        bench.say(f"signatures of {first + len(made):,} of {rows:,} rows")
    return keys


def _keys_of(bands: Bands, work: tuple[int, pa.StringArray]) -> tuple[int, Keys]:
    first, texts = work
    return first, band_keys(texts, bands)


def _candidates(bands: Keys, ranked: Ranked, alive: Places) -> Keys:
    """Pairs of ranks as numbers, the better in the upper half; ascending. No pair is within an earlier release."""
    found = np.empty(0, np.uint64)
    for band in bands:
        keys = band[ranked.rows[alive]]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        same = np.append(False, ordered[1:] == ordered[:-1])
        places = np.flatnonzero(same)
        starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))[places]
        second = alive[order[places]]
        pairs = [(alive[order[starts]], second), (alive[order[places - 1]], second)]
        for first, worse in pairs:
            new = worse >= ranked.earlier
            numbers = (first[new].astype(np.uint64) << np.uint64(32)) | worse[new].astype(np.uint64)
            found = np.union1d(found, numbers)
    return found


def _verify(bench: Workbench, ranked: Ranked, candidates: Keys) -> Iterator[_Pairs]:
    first = (candidates >> np.uint64(32)).astype(np.int64)
    second = (candidates & np.uint64(2**32 - 1)).astype(np.int64)
    yield from bench.executor.map(_compare, _chunks(bench, ranked, first, second))


def _chunks(
    bench: Workbench, ranked: Ranked, first: Places, second: Places
) -> Iterator[tuple[Places, Places, Places, Places, pa.StringArray]]:
    """Pairs with the texts that they are of, so many at a time that the texts fit into memory."""
    filled = np.cumsum(ranked.characters[first] + ranked.characters[second] + 1) // CHARACTERS_AT_ONCE
    for start, end in _runs(filled):
        ranks, places = np.unique(np.concatenate((first[start:end], second[start:end])), return_inverse=True)
        rows = bench.stage.take(ranked.rows[ranks].tolist())
        texts = bench.texts(rows.append_column("row", pa.array(range(len(ranks)), pa.int64())))
        yield first[start:end], second[start:end], places[: end - start], places[end - start :], texts


def _runs(values: Places) -> Iterator[tuple[int, int]]:
    """Where each run of equal values starts and ends."""
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1)).tolist()
    yield from pairwise(edges)


def _compare(work: tuple[Places, Places, Places, Places, pa.StringArray]) -> _Pairs:
    first, second, one, other, texts = work
    return _Pairs(first, second, similarities(texts, one, other))
