"""Metrics: what formulas name, found among the facts of a filing.

    find(filing, METRICS["revenue"], 0)     the fact of the filing's own period      find(..., -1)     the one before

For a year a flow is over twelve months (52 or 53 weeks), for a quarter over three; a stock is at the end. The period
before a quarter is the same quarter of the year before. Periods are told apart by their days, never by calendar years:
a fiscal year 2025 may end in January 2025, and another in September.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing

Measure = Literal["money", "shares", "per_share"]

_DAYS = {True: (345, 385), False: (76, 104)}
"""The length of a year and of a quarter, weeks counted in whole."""
_NEAR = timedelta(days=12)
"""How far an end may lie from where a calendar expects it."""


@dataclass(frozen=True, slots=True)
class Metric:
    key: str
    flow: bool
    measure: Measure
    names: tuple[str, ...]
    concepts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]


@cache
def metrics() -> Mapping[str, Metric]:
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {
        key: Metric(
            key, row["is"] == "flow", row.get("of", "money"), tuple(row["names"]),
            tuple(f"us-gaap:{name}" for name in row["concepts"]),
        )
        for key, row in rows.items()
    }  # fmt: skip


def find(filing: Filing, metric: Metric, offset: int, concept: str | None = None) -> Fact | None:
    """The company's own fact (no segment's) for the filing's period, or one `offset` years from it."""
    for name in [concept] if concept else metric.concepts:
        for fact in filing.facts.of(name):
            if (
                not fact.dimensions and fits(filing, fact, metric.flow, offset) and _measures(fact, metric.measure)
                and not _rounded_in_words(filing, fact)
            ):  # fmt: skip
                return fact
    return None


def _rounded_in_words(filing: Filing, fact: Fact) -> bool:
    """ "$2.1 billion" beside statements in millions: no ratio or growth of it has the digits that an answer gives. Only
    documents say how precise a fact is; company facts don't.
    """
    if not filing.blocks:
        return False
    of_assets = [told.decimals for told in filing.facts.of("us-gaap:Assets") if told.decimals is not None]
    return fact.decimals is not None and bool(of_assets) and fact.decimals < max(of_assets)


def find_series(filing: Filing, metric: Metric, offsets: list[int]) -> dict[int, Fact] | None:
    """Facts of one concept for all these periods: a series that changes its tag midway says nothing about growth."""
    for concept in metric.concepts:
        found = {offset: fact for offset in offsets if (fact := find(filing, metric, offset, concept))}
        if len(found) == len(offsets):
            return found
    return None


def fits(filing: Filing, fact: Fact, flow: bool, offset: int) -> bool:
    """Whether a fact is about the filing's period, moved by `offset` years."""
    if abs(fact.end - end_of(filing, offset)) > _NEAR:
        return False
    shortest, longest = _DAYS[filing.annual] if flow else (0, 0)
    return shortest <= fact.days <= longest


def end_of(filing: Filing, offset: int) -> date:
    """Where the period ends that lies `offset` years from the filing's own, but for some days."""
    end = filing.period_end
    try:
        return end.replace(year=end.year + offset)
    except ValueError:  # 29 February
        return end.replace(year=end.year + offset, day=28)


def several_revenues(filing: Filing) -> bool:
    """Whether it tells several revenues of its own for the period, such as net sales and those with membership fees.
    Which of them "sales" are is then open; total revenue is the first of them.
    """
    found = (find(filing, metrics()["revenue"], 0, concept) for concept in metrics()["revenue"].concepts)
    return len({fact.value for fact in found if fact}) > 1


def _measures(fact: Fact, measure: Measure) -> bool:
    currency = len(fact.unit) == 3 and fact.unit.isupper()
    per_share = fact.unit.endswith("/shares") and len(fact.unit) == 10
    return {"money": currency, "shares": fact.unit == "shares", "per_share": per_share}[measure]
