"""Walks through a space of values that are even at every step, which independent draws are not.

    rounds("abc", rng)                      b c a | a c b | ...      every option once a round
    crossed([(0, 1, 2), "xy"], rng)         every pair once in six steps, each axis even in any beginning
    paired({"left": [1, 2, 3]}, rng)        every pair that is allowed, both sides even
    staggered({"left": [1, 2, 3]}, "seed")  for each left side a walk of its own, all in step
    strata(0.25, rng)                       one True in each four, at a place that is left to chance

All are endless, and a pure function of their rng's seed.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import count
from math import ceil, lcm, prod
from random import Random
from typing import TypeVar

T = TypeVar("T")
L = TypeVar("L", bound=Hashable)


def rounds(options: Sequence[T], rng: Random) -> Iterator[T]:
    """Every option once per round, each round in a new order: no value is ever more than one ahead of another."""
    while True:
        yield from rng.sample(options, len(options))


def crossed(axes: Sequence[Sequence[T]], rng: Random) -> Iterator[tuple[T, ...]]:
    """Every combination once per round; within it, each axis by itself goes in rounds of its own.

    The axes turn like wheels. Two whose sizes have a common divisor would meet again too soon, so the second moves on
    by one each time that both are back at their beginnings.
    """
    sizes = [len(axis) for axis in axes]
    while True:
        labels = [rng.sample(axis, len(axis)) for axis in axes]
        for index in range(prod(sizes)):
            yield tuple(axis[place] for axis, place in zip(labels, _places(index, sizes), strict=True))


def _places(index: int, sizes: Sequence[int]) -> Iterator[int]:
    before = 1  # combinations of the wheels so far
    for size in sizes:
        turned = index % (before * size) // lcm(before, size)
        yield (index + turned) % size
        before *= size


def paired(allowed: Mapping[L, Sequence[T]], rng: Random) -> Iterator[tuple[L, T]]:
    """Every allowed pair once per round, the left sides in turn.

    Each left side goes through the right sides from another place on, so that they too come evenly from the beginning.
    """
    lefts = [left for left in allowed if allowed[left]]
    rights = list(dict.fromkeys(right for left in lefts for right in allowed[left]))
    while lefts:
        rng.shuffle(lefts)
        rng.shuffle(rights)
        orders = {left: _from_place(rights, place * len(rights) // len(lefts)) for place, left in enumerate(lefts)}
        queues = {left: [right for right in orders[left] if right in set(allowed[left])] for left in lefts}
        for step in range(max(map(len, queues.values()))):
            yield from ((left, queues[left][step]) for left in lefts if step < len(queues[left]))


def _from_place(items: Sequence[T], place: int) -> list[T]:
    return [*items[place:], *items[:place]]


def staggered(allowed: Mapping[L, Sequence[T]], seed: str) -> dict[L, Iterator[T]]:
    """A walk in rounds for each left side. They share an order, each from another place on, so that a first part of
    each makes a whole round together.
    """
    rights = list(dict.fromkeys(right for options in allowed.values() for right in options))

    def walk(place: int, options: Sequence[T]) -> Iterator[T]:
        for number in count() if options else ():
            order = Random(f"{seed}|{number}").sample(rights, len(rights))
            yield from (right for right in _from_place(order, place) if right in options)

    return {left: walk(n * len(rights) // len(allowed), options) for n, (left, options) in enumerate(allowed.items())}


def strata(share: float, rng: Random) -> Iterator[bool]:
    """True in this share of all steps: once in each stretch of 1/share steps, at a place of its own."""
    following = _place(0, share, rng) if share else -1
    stretch = 0
    for index in count():
        yield index == following
        if index == following:
            stretch += 1
            following = _place(stretch, share, rng)


def _place(stretch: int, share: float, rng: Random) -> int:
    return rng.randrange(ceil(stretch / share), ceil((stretch + 1) / share))
