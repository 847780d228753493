"""Contexts of an exact length, put together from pieces whose tokens were counted once.

    piece      "[17]\\nThe lift was inspected."      and how many tokens it has, its following blank line included
    context    pieces, joined by blank lines; the length is the sum of the pieces' tokens

A piece is counted with what follows it: tokens("... inspected.\\n\\nA") - tokens("A"). Tokenizers cut text before
letters and brackets, so these counts add up, and no context is ever tokenised as a whole. Most of them also cut before
the spaces of a line; pieces that are made of few different words are then sums over words that were counted once.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count
from math import gcd
from random import Random
from typing import Literal, NamedTuple

from tokenizers import Tokenizer

from gristmill.render.tokenizers import load_tokenizer

SEPARATOR = "\n\n"

Depth = Literal["even", "start", "middle", "end"]
_BANDS: dict[Depth, tuple[float, float]] = {
    "even": (0.0, 1.0), "start": (0.0, 1 / 3), "middle": (1 / 3, 2 / 3), "end": (2 / 3, 1.0),
}  # fmt: skip


def band(depth: Depth) -> tuple[float, float]:
    """Where a depth begins and ends, as shares of a context."""
    return _BANDS[depth]


class Piece(NamedTuple):
    text: str
    tokens: int


class Placed(NamedTuple):
    """A finished context: its text, its tokens, and for each wanted piece where it begins (a token) and its number."""

    text: str
    tokens: int
    offsets: list[int]
    numbers: list[int]


_WORD = re.compile(" *[^ ]+| +$")
_WORDS_KEPT = 1 << 15
_SAMPLE = "At the end of the day, [12] of the “old” notes (so far) were read out in Łódź on 3 May 1964: why?\n\nA"
"""A tokenizer that joins words, or puts a mark before each text, gives other counts for its words."""


class TokenCounter:
    """Tokens of pieces under one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._word = lru_cache(_WORDS_KEPT)(self.count)
        self._cuts_at_spaces = self._sum_of_words(_SAMPLE) == self.count(_SAMPLE)
        self._next = self.count("A")
        self.header = cache(self._header)

    def _raw(self, texts: Sequence[str]) -> list[int]:
        return [len(found.ids) for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def pieces(self, texts: Sequence[str], separator: str = SEPARATOR) -> list[Piece]:
        counts = self._raw([f"{text}{separator}A" for text in texts])
        return [Piece(text, count - self._next) for text, count in zip(texts, counts, strict=True)]

    def pieces_by_word(self, texts: Sequence[str], separator: str = SEPARATOR) -> list[Piece]:
        """The same of texts whose words come again and again, several times as fast."""
        return [Piece(text, self.count_by_word(f"{text}{separator}A") - self._next) for text in texts]

    def count(self, text: str) -> int:
        """Tokens of a text at the end of a message."""
        return self._raw([text])[0]

    def count_by_word(self, text: str) -> int:
        return self._sum_of_words(text) if self._cuts_at_spaces else self.count(text)

    def _sum_of_words(self, text: str) -> int:
        return sum(map(self._word, _WORD.findall(text)))

    def _header(self, number: int) -> Piece:
        text = f"[{number}]\n"
        return Piece(text, self.count(f"{text}A") - self._next)


@lru_cache(maxsize=4)
def token_counter(tokenizer: str) -> TokenCounter:
    """The counter of the tokenizer that a config names: a folder, a hub id or `embedded`."""
    return TokenCounter(load_tokenizer(tokenizer, []).tokenizer)


@dataclass(frozen=True)
class Fillers:
    """Pieces that mean nothing to the task; `by_size` are their positions from the shortest to the longest."""

    pieces: Sequence[Piece]
    by_size: Sequence[int]
    sizes: Sequence[int]

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> "Fillers":
        kept = list(pieces)
        order = sorted(range(len(kept)), key=lambda position: kept[position].tokens)
        return cls(kept, order, [kept[position].tokens for position in order])


def fill(
    wanted: Sequence[Piece], fillers: Fillers, tokens: int, depth: Depth, counter: TokenCounter, rng: Random
) -> Placed:
    """A numbered context of `tokens` tokens that holds the wanted pieces in their order, within the depth's band.

    The fillers come in strides of a random width that meets each of them once before one comes again. The last ones are
    chosen by their size, which leaves fewer tokens over than the shortest filler and its number have.
    """
    headers = (counter.header(position).tokens for position in count(1))
    left = tokens - sum(piece.tokens + next(headers) for piece in wanted)
    chosen: list[Piece] = []
    place, stride = rng.randrange(len(fillers.pieces)), _stride(len(fillers.pieces), rng)
    header = next(headers)
    while left >= fillers.sizes[0] + header:
        if left > fillers.sizes[-1] + header:
            place = (place + stride) % len(fillers.pieces)
            piece = fillers.pieces[place]
        else:
            piece = fillers.pieces[fillers.by_size[bisect_right(fillers.sizes, left - header) - 1]]
        chosen.append(piece)
        left -= piece.tokens + header
        header = next(headers)
    return _numbered(wanted, chosen, depth, counter, rng)


def _stride(size: int, rng: Random) -> int:
    """A width of steps that have nothing in common with a circle of this size, so that they reach every place."""
    while gcd(width := rng.randrange(1, size + 1), size) > 1:
        pass
    return width


def _numbered(
    wanted: Sequence[Piece], fillers: Sequence[Piece], depth: Depth, counter: TokenCounter, rng: Random
) -> Placed:
    places = set(band_places(len(wanted), len(wanted) + len(fillers), depth, rng))
    relevant, others = iter(wanted), iter(fillers)
    texts: list[str] = []
    offsets, numbers, tokens = [], [], 0
    for place in range(len(wanted) + len(fillers)):
        header = counter.header(place + 1)
        piece = next(relevant if place in places else others)
        if place in places:
            offsets.append(tokens)
            numbers.append(place + 1)
        texts.append(header.text + piece.text)
        tokens += header.tokens + piece.tokens
    return Placed(SEPARATOR.join(texts), tokens, offsets, numbers)


def band_places(wanted: int, total: int, depth: Depth, rng: Random) -> list[int]:
    """`wanted` of `total` places, in order, within the depth's band; anywhere where the band has too few."""
    low, high = (int(edge * total) for edge in band(depth))
    places = range(low, high) if high - low >= wanted else range(total)
    return sorted(rng.sample(places, wanted))
