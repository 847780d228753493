"""Walks through the taxonomy: even at every step, complete in a round, the same for the same seed."""

from collections import Counter
from itertools import islice
from math import prod
from random import Random

import pytest

from gristmill.walk import crossed, paired, rounds, staggered, strata


def spread(values: list[object], options: int) -> int:
    counts = Counter(values)
    return max(counts.values()) - (min(counts.values()) if len(counts) == options else 0)


@pytest.mark.parametrize("sizes", [(3, 3, 5, 5, 4), (3, 3), (2, 4, 6), (3, 1, 5, 5, 4), (6, 10, 15), (1,)])
def test_crossed_axes_are_even_in_every_beginning_and_complete_in_a_round(sizes: tuple[int, ...]) -> None:
    total = prod(sizes)
    steps = list(islice(crossed([range(size) for size in sizes], Random(1)), 2 * total))
    assert len(set(steps[:total])) == total and Counter(steps) == dict.fromkeys(set(steps), 2)
    for axis, size in enumerate(sizes):
        for beginning in range(1, len(steps), max(1, total // 50)):
            assert spread([step[axis] for step in steps[:beginning]], size) <= 1


def test_pairs_are_complete_and_both_sides_come_evenly() -> None:
    allowed = {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, 4, 5, 6], "c": [1, 2, 3, 4, 5]}
    pairs = list(islice(paired(allowed, Random(0)), 34))
    assert Counter(pairs[:17]) == {(left, right): 1 for left, rights in allowed.items() for right in rights}
    assert len({right for _, right in pairs[:6]}) == 6, "the first steps go through all right sides"
    for beginning in (3, 6, 9):
        assert spread([left for left, _ in pairs[:beginning]], 3) <= 1
    assert list(islice(paired({"a": []}, Random(0)), 5)) == []


@pytest.mark.parametrize("share", [0.04, 0.2, 0.25, 0.3, 0.5, 0.7, 1.0, 0.0])
def test_strata_keep_the_share_and_have_no_rhythm(share: float) -> None:
    hits = list(islice(strata(share, Random(3)), 1000))
    assert abs(sum(hits) - 1000 * share) <= 1
    if 0.1 < share < 0.7:
        places = [index % 4 for index, hit in enumerate(hits) if hit]
        assert spread(list(places), 4) < 60, "an axis of four values meets the flawed tasks in all of its values"


def test_rounds_change_their_order() -> None:
    values = list(islice(rounds("abcdef", Random(0)), 60))
    assert all(sorted(values[start : start + 6]) == list("abcdef") for start in range(0, 60, 6))
    assert len({tuple(values[start : start + 6]) for start in range(0, 60, 6)}) > 5


def test_staggered_walks_complete_a_round_together() -> None:
    options = list(range(30))
    walks = staggered({"a": options, "b": options, "c": options[:-1]}, "seed")
    together = [next(walk) for _ in range(10) for walk in walks.values()]
    assert len(set(together)) >= 29
    alone = list(islice(staggered({"a": options}, "seed")["a"], 90))
    assert all(sorted(alone[start : start + 30]) == options for start in (0, 30, 60))
