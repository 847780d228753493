"""Facts as companies tag them: a concept, a period, a value with its unit, and for segments the members they are about.

    us-gaap:NetIncomeLoss    2023-10-01 to 2024-09-28    93736000000 USD    filed 2024-11-01

They come from a filing's inline XBRL or from data.sec.gov's company facts. The same fact is told again in every later
filing that compares with it; where the values differ, it was restated: the latest by filing date counts, and the
earlier values stay beside it.

Source: https://www.xbrl.org/specification/inlinexbrl-part1/rec-2013-11-18/inlinexbrl-part1-rec-2013-11-18.html,
https://www.sec.gov/search-filings/edgar-application-programming-interfaces.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

Dimensions = tuple[tuple[str, str], ...]
"""(axis, member) pairs, sorted; () for the company as a whole."""


@dataclass(frozen=True, slots=True)
class Fact:
    """`start` is None for a balance at `end`. `block` is where a filing's text tells it (-1: nowhere), `label` the name
    of its row there; `decimals` its precision as XBRL writes it (-6: millions). `filed` orders restatements.
    """

    concept: str
    value: Decimal
    unit: str
    start: date | None
    end: date
    dimensions: Dimensions = ()
    decimals: int | None = None
    filed: str = ""
    block: int = -1
    label: str = ""
    earlier: tuple[Decimal, ...] = ()

    @property
    def key(self) -> tuple[str, str, date | None, date, Dimensions]:
        """What it is about: two facts with one key should have one value."""
        return self.concept, self.unit, self.start, self.end, self.dimensions

    @property
    def days(self) -> int:
        """The length of the period; 0 for a balance."""
        return (self.end - self.start).days + 1 if self.start else 0


class Facts:
    """One fact for each key. What a filing tells twice in different precision is one fact; what it tells twice with
    values that no rounding explains is a conflict, and none.
    """

    def __init__(self, told: Iterable[Fact]) -> None:
        groups: dict[object, list[Fact]] = defaultdict(list)
        for fact in told:
            groups[fact.key].append(fact)
        self._by_concept: dict[str, list[Fact]] = defaultdict(list)
        self.conflicts: list[Fact] = []
        for group in groups.values():
            chosen = _settled(group)
            if chosen is None:
                self.conflicts.append(group[0])
            else:
                self._by_concept[chosen.concept].append(chosen)

    def __iter__(self) -> Iterator[Fact]:
        for facts in self._by_concept.values():
            yield from facts

    def __len__(self) -> int:
        return sum(map(len, self._by_concept.values()))

    def of(self, concept: str) -> list[Fact]:
        return self._by_concept.get(concept, [])


def _settled(group: list[Fact]) -> Fact | None:
    """The fact of the latest filing, in its best precision, with the values that it replaced."""
    latest = max(fact.filed for fact in group)
    told = [fact for fact in group if fact.filed == latest]
    best = max(told, key=lambda fact: (_precision(fact), fact.block >= 0, -fact.block))
    if not all(agree(best.value, fact.value, fact.decimals) for fact in told):
        return None
    before = [fact.value for fact in sorted(group, key=lambda fact: fact.filed)
              if not agree(best.value, fact.value, fact.decimals)]  # fmt: skip
    return replace(best, earlier=tuple(dict.fromkeys((*best.earlier, *before))))


def _precision(fact: Fact) -> int:
    return fact.decimals if fact.decimals is not None else 99


def agree(exact: Decimal, told: Decimal, decimals: int | None) -> bool:
    """Whether `told`, given to so many decimals, is a rounding of `exact`."""
    if decimals is None:
        return exact == told
    return abs(exact - told) <= Decimal(10) ** -decimals / 2
