"""How many rows each source gives: exact shares of a total, by integers and fractions only.

Sample: a total of 10 with weights 3 : 1 has the shares 15/2 and 5/2, so 8 and 2 rows; a cap of 6 on the first makes it
6 and 4.
Rounding is by largest remainder (Hamilton's method), so that every count is less than one row away from its share.
"""

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True)
class Supply:
    """What a source has after the gates: `ordinary` and `rule_made` rows, each to be drawn at most `epochs` times."""

    name: str
    weight: Fraction
    cap: int | None
    ordinary: int
    rule_made: int
    epochs: int
    rule_limit: Fraction  # the part of what it gives that may be rule-made

    def capacity(self, epochs: int) -> int:
        """The most rows that it can give: the largest count whose ordinary part it has."""
        ordinary, rows = self.ordinary * epochs, (self.ordinary + self.rule_made) * epochs
        return bisect_right(range(rows + 1), ordinary, key=lambda count: count - floor(self.rule_limit * count)) - 1


@dataclass(frozen=True)
class Plan:
    """`rows[i]` of source i are drawn; `shares[i]` is what was asked of it, exactly."""

    total: int
    shares: list[Fraction]
    rows: list[int]


class Shortage(Exception):
    """The sources can't give the total; `feasible` is the largest total that they can give."""

    def __init__(self, plan: Plan, capacities: list[int], feasible: int) -> None:
        super().__init__(f"only {feasible} of {plan.total} rows")
        self.plan = plan
        self.capacities = capacities
        self.feasible = feasible


def plan_rows(total: int, supplies: list[Supply], short: str) -> Plan:
    """The plan for `total`, or with `short: shrink` for the largest total that can be had; else `Shortage`."""
    repeat = short == "repeat"  # as many epochs as it takes, and more than `total` can't be needed
    capacities = [supply.capacity(max(supply.epochs, total) if repeat else supply.epochs) for supply in supplies]
    plan = apportion(total, supplies)
    if _feasible(plan, capacities):
        return plan
    best = _largest_feasible(total, supplies, capacities)
    if short == "shrink" and best.total > 0:
        return best
    raise Shortage(plan, capacities, best.total)


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
    """Whole rows by largest remainder; the earlier source first where remainders are equal."""
    exact = shares(total, supplies)
    rows = [floor(share) for share in exact]
    missing = floor(sum(exact)) - sum(rows)
    for index in sorted(range(len(rows)), key=lambda index: rows[index] - exact[index])[:missing]:
        rows[index] += 1
    return Plan(total, exact, rows)


def _feasible(plan: Plan, capacities: list[int]) -> bool:
    within = all(rows <= capacity for rows, capacity in zip(plan.rows, capacities, strict=True))
    return within and sum(plan.rows) == plan.total  # less than the total where every source is at its cap


def _largest_feasible(total: int, supplies: list[Supply], capacities: list[int]) -> Plan:
    """Searches down from the largest total whose shares, rounded down, can be had: shares grow with the total, counts
    rounded by largest remainder need not."""

    def too_large(candidate: int) -> bool:
        exact = shares(candidate, supplies)
        return sum(exact) < candidate or any(floor(s) > c for s, c in zip(exact, capacities, strict=True))

    candidate = bisect_right(range(total + 1), False, key=too_large) - 1
    while not _feasible(plan := apportion(candidate, supplies), capacities):
        candidate -= 1
    return plan
