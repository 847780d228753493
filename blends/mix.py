"""How many rows, or supervised tokens, each source gives: exact shares of a total, by integers and fractions only.

Sample: a total of 10 with weights 3 : 1 has the shares 15/2 and 5/2, so 8 and 2 rows; a cap of 6 on the first makes it
6 and 4.
Rounding is by largest remainder (Hamilton's method), so that every count is less than one away from its share; the
buckets of a source's quota divide what it gives in the same way.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True)
class Stock:
    """What a source has after the gates in one bucket of its quota, in all of its rows where it has none."""

    ordinary: int
    rule_made: int
    weight: Fraction = Fraction(1)

    def capacity(self, epochs: int, rule_limit: Fraction) -> int:
        """The most that it can give: the largest count whose ordinary part it has."""
        ordinary, whole = self.ordinary * epochs, (self.ordinary + self.rule_made) * epochs
        return bisect_right(range(whole + 1), ordinary, key=lambda count: count - floor(rule_limit * count)) - 1


@dataclass(frozen=True)
class Supply:
    """A source: each of its rows is drawn at most `epochs` times."""

    name: str
    weight: Fraction
    cap: int | None
    stocks: Sequence[Stock]
    epochs: int
    rule_limit: Fraction  # the part of what it gives that may be rule-made

    def capacity(self, epochs: int) -> int:
        """The most that it can give with the shares that its buckets should have."""
        whole = sum((stock.weight for stock in self.stocks), Fraction(0))
        room = [stock.capacity(epochs, self.rule_limit) for stock in self.stocks]
        count = min(floor((most + 1) * whole / stock.weight) for most, stock in zip(room, self.stocks, strict=True))
        while not self.can_give(count, epochs):
            count -= 1
        return count

    def can_give(self, count: int, epochs: int) -> bool:
        return all(
            part <= stock.capacity(epochs, self.rule_limit)
            for part, stock in zip(self.divided(count), self.stocks, strict=True)
        )

    def divided(self, count: int) -> list[int]:
        """What each bucket gives of a count."""
        whole = sum((stock.weight for stock in self.stocks), Fraction(0))
        return rounded([count * stock.weight / whole for stock in self.stocks])


@dataclass(frozen=True)
class Plan:
    """`counts[i]` of source i are drawn; `shares[i]` is what was asked of it, exactly."""

    total: int
    shares: list[Fraction]
    counts: list[int]


class Shortage(Exception):
    """The sources can't give the total. `capacities` are of those that lack something, `feasible` is the largest."""

    def __init__(self, plan: Plan, capacities: dict[int, int], feasible: int) -> None:
        super().__init__(f"only {feasible} of {plan.total}")
        self.plan = plan
        self.capacities = capacities
        self.feasible = feasible


def make_plan(total: int, supplies: list[Supply], short: str) -> Plan:
    """The plan for `total`, or with `short: shrink` for the largest total that can be had; else `Shortage`."""
    repeat = short == "repeat"  # as many epochs as it takes, and more than `total` can't be needed
    epochs = [max(supply.epochs, total) if repeat else supply.epochs for supply in supplies]
    plan = apportion(total, supplies)
    if _feasible(plan, supplies, epochs):
        return plan
    best = _largest_feasible(total, supplies, epochs)
    if short == "shrink" and best.total > 0:
        return best
    lacking = {
        index: supply.capacity(epochs[index])
        for index, supply in enumerate(supplies)
        if not supply.can_give(plan.counts[index], epochs[index])
    }
    raise Shortage(plan, lacking, best.total)


def shares(total: int, supplies: list[Supply]) -> list[Fraction]:
    """Caps first: a source whose share would exceed its cap gives its cap; the others share what remains by weight."""
    given: dict[int, Fraction] = {}
    while True:
        rest = total - sum(given.values())
        free = [index for index in range(len(supplies)) if index not in given]
        weight = sum((supplies[index].weight for index in free), Fraction(0))
        asked = {index: rest * supplies[index].weight / weight for index in free}
        over = {
            index: Fraction(cap) for index in free if (cap := supplies[index].cap) is not None and asked[index] > cap
        }
        if not over:
            return [(given | asked)[index] for index in range(len(supplies))]
        given |= over


def apportion(total: int, supplies: list[Supply]) -> Plan:
    """Whole counts; the earlier source first where remainders are equal."""
    exact = shares(total, supplies)
    return Plan(total, exact, rounded(exact))


def rounded(shares: list[Fraction]) -> list[int]:
    """Shares as whole numbers with the same sum (rounded down), by largest remainder."""
    counts = [floor(share) for share in shares]
    missing = floor(sum(shares)) - sum(counts)
    for index in sorted(range(len(counts)), key=lambda index: counts[index] - shares[index])[:missing]:
        counts[index] += 1
    return counts


def _feasible(plan: Plan, supplies: list[Supply], epochs: list[int]) -> bool:
    if sum(plan.counts) < plan.total:  # every source is at its cap
        return False
    return all(map(Supply.can_give, supplies, plan.counts, epochs))


def _largest_feasible(total: int, supplies: list[Supply], epochs: list[int]) -> Plan:
    """Searches down from the largest total whose shares, rounded down, can be had: shares grow with the total, counts
    rounded by largest remainder need not."""
    capacities = list(map(Supply.capacity, supplies, epochs))

    def too_large(candidate: int) -> bool:
        exact = shares(candidate, supplies)
        return sum(exact) < candidate or any(floor(s) > c for s, c in zip(exact, capacities, strict=True))

    candidate = bisect_right(range(total + 1), False, key=too_large) - 1
    while not _feasible(plan := apportion(candidate, supplies), supplies, epochs):
        candidate -= 1
    return plan
