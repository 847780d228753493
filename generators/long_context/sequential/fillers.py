"""Snippets that mean nothing to any task: one to four sentences on a quiet place."""

from collections.abc import Iterator
from itertools import islice
from random import Random

from generators.long_context.context import Fillers, TokenCounter
from generators.long_context.sequential.story import words

BATCH = 1000
SENTENCES = (1, 4)


def make_fillers(seed: int, tokens: int, counter: TokenCounter) -> Fillers:
    """Enough different snippets for a context of `tokens` tokens."""
    pieces, total = [], 0
    snippets = _snippets(Random(f"{seed}|fillers"))
    while total < tokens:
        made = counter.pieces_by_word(list(islice(snippets, BATCH)))
        pieces += made
        total += sum(piece.tokens for piece in made)
    return Fillers.of(pieces)


def _snippets(rng: Random) -> Iterator[str]:
    stock = words()
    while True:
        frames = rng.sample(stock["fillers"], rng.randint(*SENTENCES))
        yield " ".join(_sentence(frame, rng) for frame in frames)


def _sentence(frame: str, rng: Random) -> str:
    stock = words()
    person, other = rng.sample(stock["people"], 2)
    text = frame.format(
        person=person, other=other, place=rng.choice(stock["places"]), weather=rng.choice(stock["weather"]),
        time=rng.choice(stock["times"]), visitors=rng.choice(stock["visitors"]),
        dish=rng.choice(stock["dishes"]),
    )  # fmt: skip
    return text[0].upper() + text[1:]
