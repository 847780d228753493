"""MinHash signatures of texts, and the exact similarity of pairs of them.

A text is the set of its shingles, all runs of five bytes: "river" and "rivers" share one of two, and no language needs
words for that. The Jaccard similarity of two sets is the part of their union that they share. Signatures of 128
permutations, cut into bands, find the pairs that are likely to be similar; `similarities` says how similar they are.

Source: Broder 1997, On the resemblance and containment of documents; Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, chapter 3 (shingles, MinHash, bands). MinHash by rensa.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]

BYTES = 5
BYTES_AT_ONCE = 2_000_000
PERMUTATIONS = 128
RECALL = 0.995  # of pairs that are exactly at the threshold
END = "\x1f" * 8  # what each text ends with, so that its last words make shingles too
_SHINGLE = np.uint64(2 ** (8 * BYTES) - 1)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hash
_SEED = 42


class Bands(NamedTuple):
    """A signature is cut into `bands` bands of `rows` values; a pair is looked at where it agrees in one of them."""

    bands: int
    rows: int


def bands_for(threshold: float) -> Bands:
    """The widest bands, so the fewest pairs to look at, that still find RECALL of the pairs at the threshold."""
    cuts = (Bands(PERMUTATIONS // rows, rows) for rows in range(PERMUTATIONS, 0, -1))
    return next((cut for cut in cuts if 1 - (1 - threshold**cut.rows) ** cut.bands >= RECALL), Bands(PERMUTATIONS, 1))


def band_keys(texts: pa.StringArray, bands: Bands) -> Keys:
    """One key per text and band, of shape (texts, bands.bands); texts end with END."""
    return np.concatenate([_band_keys(part, bands) for part in _parts(texts)])


def _parts(texts: pa.StringArray) -> Iterator[pa.StringArray]:
    """The texts in slices of about BYTES_AT_ONCE: a shingle takes many times the memory of its byte."""
    ends = np.cumsum(pa.compute.binary_length(texts).to_numpy())
    starts = [0, *(np.flatnonzero(np.diff(ends // BYTES_AT_ONCE)) + 1).tolist(), len(texts)]
    yield from (texts.slice(start, end - start) for start, end in pairwise(starts))


def _band_keys(texts: pa.StringArray, bands: Bands) -> Keys:
    from rensa import RMinHash

    shingles, starts = _shingles(texts)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, starts.astype(np.uint64), PERMUTATIONS, _SEED)
    signatures = np.array(matrix.to_rows(), np.uint32).reshape(len(texts), PERMUTATIONS)
    used = signatures[:, : bands.bands * bands.rows].reshape(len(texts), bands.bands, bands.rows)
    keys = np.zeros((len(texts), bands.bands), np.uint64)
    for column in range(bands.rows):
        keys = (keys ^ used[:, :, column]) * _ODD
        keys ^= keys >> np.uint64(29)
    return keys


def similarities(texts: pa.StringArray, first: Places, second: Places) -> NDArray[np.float64]:
    """The Jaccard similarity of texts[first[i]] and texts[second[i]] for each i."""
    shingles, starts = _shingles(texts)
    sets = [_distinct(shingles[start:end]) for start, end in pairwise(starts)]
    return np.array([_jaccard(sets[a], sets[b]) for a, b in zip(first, second, strict=True)], np.float64)


def _distinct(values: Keys) -> Keys:
    ascending = np.sort(values)
    first = np.append(True, ascending[1:] != ascending[:-1])
    distinct: Keys = ascending[first]
    return distinct


def _jaccard(one: Keys, other: Keys) -> float:
    both = np.sort(np.concatenate((one, other)))
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (len(both) - common)


def _shingles(texts: pa.StringArray) -> tuple[Keys, Places]:
    """The shingle that begins at each byte, scrambled, and where each text's begin; one more start is the end."""
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
    joined = bytes(memoryview(data)[starts[0] : starts[-1]]) if data is not None else b""
    windows = np.ndarray((len(joined),), "<u8", joined + b"\x1f" * 7, 0, (1,))
    scrambled = (windows & _SHINGLE) * _ODD
    scrambled ^= scrambled >> np.uint64(32)
    starts -= starts[0]
    for last in range(1, BYTES):  # these would run on into the next text
        scrambled[starts[1:] - last] = 0
    return scrambled, starts
