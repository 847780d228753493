"""What a record's metadata say about its figures: tagged facts, the values on the way, and the results.

{facts: [{names: ["revenue"], company: "Harrow Creek", period: "2024", value: "1134471000", unit: "USD", ...}],
 derived: [["0.471", "percent"]], expected: [{name: "gross margin", value: "0.471", unit: "percent", ...}]}
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from itertools import permutations
from typing import Any, Literal, NamedTuple, Self

Measure = Literal["money", "shares", "per_share", "ratio", "days", "number"]

_UNITS: dict[str, Measure] = {
    "percent": "ratio",
    "points": "ratio",
    "times": "ratio",
    "plain": "ratio",
    "dollars": "ratio",
    "days": "days",
    "money": "money",
    "per_share": "per_share",
    "number": "number",
    "shares": "shares",
}


class Target(NamedTuple):
    """A value that a figure may state. `powers` are the scales in which it may stand without a word for the scale."""

    name: str
    value: Fraction
    measure: Measure
    powers: tuple[int, ...] = (0,)
    derived: bool = True
    change: bool = False


class Known(NamedTuple):
    """A fact: what it is called, whose and of which period it is, its value, and those that a restatement replaced."""

    names: tuple[str, ...]
    company: str
    period: str
    end: str
    target: Target
    others: tuple[Target, ...]

    def targets(self) -> tuple[Target, ...]:
        return self.target, *self.others


class Proof:
    """What a record's metadata say about its figures; see `read`."""

    def __init__(self, known: list[Known], derived: list[Target], expected: list[tuple[Target, bool]]) -> None:
        self.known, self.derived, self.expected = known, derived, expected

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From {facts: [{names, company, period, value, unit, decimals, otherwise}], derived: [[value, dimension]],
        expected: [{name, value, unit, required}]}. ValueError, KeyError or TypeError where it is anything else."""
        known = [_known(row) for row in told["facts"]]
        powers = tuple(sorted({power for fact in known for power in fact.target.powers} | {0}))
        derived = [
            Target("a value on the way", Fraction(value), _UNITS[dimension], powers)
            for value, dimension in told["derived"]
        ]
        expected = [
            (Target(row["name"], Fraction(row["value"]), _UNITS[row["unit"]], powers,
                    change=bool(re.match(r"(?:compound )?growth|change", row["name"]))), bool(row["required"]))
            for row in told["expected"]
        ]  # fmt: skip
        return cls(known, derived, expected)

    @cached_property
    def targets(self) -> list[Target]:
        """All that a figure may state: results, facts, what lies on the way, and how a fact changed between periods."""
        return [
            *(target for target, _ in self.expected),
            *(target for fact in self.known for target in fact.targets()),
            *self.derived,
            *_changes(self.known),
        ]

    @cached_property
    def terms(self) -> list[str]:
        """Names of facts and results, the longest first."""
        names = {name for fact in self.known for name in fact.names} | {target.name for target, _ in self.expected}
        return sorted(names, key=lambda name: (-len(name), name))


def _changes(known: list[Known]) -> Iterator[Target]:
    """Differences and growth between the periods of one fact."""
    for one, other in permutations(known, 2):
        same = (one.company, one.names[0]) == (other.company, other.names[0])
        if same and one.end > other.end and other.target.value > 0:
            change = one.target.value - other.target.value
            yield Target(f"change of {one.names[0]}", change, one.target.measure, one.target.powers, change=True)
            yield Target(f"growth of {one.names[0]}", change / other.target.value, "ratio", change=True)


def _known(row: Mapping[str, Any]) -> Known:
    measure: Measure = "shares" if row["unit"] == "shares" else "per_share" if "/" in row["unit"] else "money"
    if row["unit"] == "pure":
        measure = "ratio"
    decimals = row.get("decimals")
    scale = -decimals // 3 * 3 if isinstance(decimals, int) and decimals < 0 else 0
    powers = (0,) if scale == 0 else (0, scale) if scale == 3 else (0, 3, scale)
    values = [row["value"], *row.get("otherwise", [])]
    names = tuple(name for name in (*row["names"], row.get("row", "")) if name)
    first, *others = (Target(names[0], Fraction(value), measure, powers, derived=False) for value in values)
    return Known(names, row["company"], row["period"], row.get("end", ""), first, tuple(others))


def shown(target: Target) -> str:
    value = float(target.value)
    if target.measure in ("ratio", "number"):
        return f"{100 * value:.2f}% = {value:.4f}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")
