"""Revenue by segment, product or region: shares, growth, mix, and whether the parts add up to the whole.

Filings tag sums and parts alike with members of one axis (products; of which iPhone, Mac ...). A breakdown is a set of
members whose revenue adds up to the consolidated one in both years, or does so with the eliminations that are tagged
beside it; the finest such set is taken. Without one there is no question.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from random import Random

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing
from generators.financial_qa.formulas import NotComputable
from generators.financial_qa.metrics import find, fits, metrics
from generators.financial_qa.templates import Template
from generators.financial_qa.wording import answer, listed, moved
from generators.financial_qa.work import Work

_AXES = {
    "us-gaap:StatementBusinessSegmentsAxis": ("segment", "segments"),
    "srt:ProductOrServiceAxis": ("product line", "product lines"),
    "srt:StatementGeographicalAxis": ("region", "regions"),
}
_MOST = 12
"""Members of an axis that are tried in all combinations."""
_ROUNDING = Decimal("0.0005")
_RESIDUAL = re.compile(r"(?:all )?other(?: revenues?)?|corporate(?: and other)?|unallocated.*", re.IGNORECASE)
"""What is left over is in the sum, but it is no part that could be the smallest or the fastest."""


@dataclass(frozen=True, slots=True)
class Part:
    """A member's revenue in the period and in the one before."""

    name: str
    after: Fact
    before: Fact

    @property
    def growth(self) -> Fraction:
        return (Fraction(self.after.value) - Fraction(self.before.value)) / Fraction(self.before.value)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """`kind` and `kinds` are what the parts are called; the totals are the consolidated revenue."""

    kind: str
    kinds: str
    parts: tuple[Part, ...]
    after: Fact
    before: Fact


def breakdown(filing: Filing) -> Breakdown | None:
    """The finest breakdown of revenue that adds up."""
    found = [made for axis in _AXES for made in _breakdowns(filing, axis)]
    return max(found, key=lambda made: len(made.parts), default=None)


def _breakdowns(filing: Filing, axis: str) -> Iterator[Breakdown]:
    for concept in metrics()["revenue"].concepts:
        after, before = (find(filing, metrics()["revenue"], offset, concept) for offset in (0, -1))
        if after is None or before is None:
            continue
        parts = list(_parts(filing, concept, axis))
        eliminated = [_eliminations(filing, concept, offset) for offset in (0, -1)]
        for size in range(min(len(parts), _MOST), 1, -1):
            chosen = next(
                (set_ for set_ in combinations(parts[:_MOST], size) if _adds_up(set_, after, before, eliminated)), None
            )
            if chosen:
                yield Breakdown(*_AXES[axis], chosen, after, before)
                break


def _parts(filing: Filing, concept: str, axis: str) -> Iterator[Part]:
    by_member: dict[str, dict[int, Fact]] = {}
    for fact in filing.facts.of(concept):
        if len(fact.dimensions) == 1 and fact.dimensions[0][0] == axis and fact.value > 0:
            for offset in (0, -1):
                if fits(filing, fact, True, offset):
                    by_member.setdefault(fact.dimensions[0][1], {})[offset] = fact
    for member, told in by_member.items():
        if len(told) == 2:
            yield Part(_name(told[0], member), told[0], told[-1])


def _name(fact: Fact, member: str) -> str:
    label = re.sub(r"\s*\(\w{1,2}\)$|\s*[*†]+$|:$", "", fact.label).strip()
    if label and not label.lower().startswith(("total", "net sales", "revenue", "net revenue")):
        return label
    bare = member.rpartition(":")[2].removesuffix("Member").removesuffix("Segment")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare)


def _eliminations(filing: Filing, concept: str, offset: int) -> Decimal:
    return sum(
        (fact.value for fact in filing.facts.of(concept)
         if len(fact.dimensions) == 1 and "Elimination" in fact.dimensions[0][1] and fits(filing, fact, True, offset)),
        Decimal(0),
    )  # fmt: skip


def _adds_up(parts: tuple[Part, ...], after: Fact, before: Fact, eliminated: list[Decimal]) -> bool:
    if len({part.name for part in parts}) < len(parts):
        return False
    sums = sum(part.after.value for part in parts), sum(part.before.value for part in parts)
    return any(
        all(abs(total + gone - whole.value) <= whole.value * _ROUNDING
            for total, gone, whole in zip(sums, gones, (after, before), strict=True))
        for gones in ([Decimal(0)] * 2, eliminated)
    )  # fmt: skip


def solve_segments(template: Template, works: list[Work], rng: Random) -> str:
    """The shape `segments`. NotComputable without a breakdown that adds up."""
    work, found = works[0], breakdown(works[0].telling.filing)
    if found is None:
        raise NotComputable("no breakdown of revenue adds up")
    parts = sorted(found.parts, key=lambda part: -part.after.value)
    if template.how in ("fastest", "slowest", "spread"):
        parts = [part for part in parts if not _RESIDUAL.fullmatch(part.name)]
    if len(parts) < 2:
        raise NotComputable("there is one part only")
    for part in parts:
        work.use((f"revenue of {part.name}", part.name), work.telling.period(), part.after)
        if template.how in ("fastest", "slowest", "shift", "contribution"):
            work.use((f"revenue of {part.name}", part.name), work.telling.period(-1), part.before)
    values = {
        "c": work.telling.company, "y": work.telling.period(), "b": work.telling.period(-1),
        "kind": found.kind, "kinds": found.kinds,
    }  # fmt: skip
    how = {
        "largest": _share, "fastest": _growth, "slowest": _growth, "reconcile": _reconcile, "shift": _shift,
        "contribution": _contribution, "spread": _spread,
    }  # fmt: skip
    return answer(template.how, rng, **values, **how[template.how](template, work, found, parts))


def _amount(work: Work, value: Decimal | Fraction) -> str:
    return work.telling.told(Fraction(value), "money")


def _sum(work: Work, found: Breakdown, values: list[Decimal], period: str) -> Fraction:
    total = work.derive(Fraction(sum(values, Decimal(0))))
    terms = " + ".join(_amount(work, value) for value in values)
    work.line(f"Sum of the {found.kinds}, {period} = {terms} = {_amount(work, total)}")
    return total


def _share(template: Template, work: Work, found: Breakdown, parts: list[Part]) -> dict[str, str]:
    total, largest = _sum(work, found, [part.after.value for part in parts], work.telling.period()), parts[0]
    told = work.expect(template.name, Fraction(largest.after.value) / total, "percent")
    now, whole = _amount(work, largest.after.value), _amount(work, total)
    work.line(f"Share of {largest.name} = {now} / {whole} = {told}")
    work.solution.result = f"{largest.name}, with {told}"
    return {"part": largest.name, "now": now, "total": whole, "told": told}


def _growth(template: Template, work: Work, found: Breakdown, parts: list[Part]) -> dict[str, str]:
    told = {}
    for part in parts:
        now, then = _amount(work, part.after.value), _amount(work, part.before.value)
        told[part.name] = work.telling.told(work.derive(part.growth, "number"), "percent")
        work.line(f"Growth of {part.name} = ({now} − {then}) / {then} = {told[part.name]}")
    pick = (max if template.how == "fastest" else min)(parts, key=lambda part: part.growth)
    if template.how == "fastest" and pick.growth <= 0:
        raise NotComputable(f"none of the {found.kinds} grew")
    work.solution.result = f"{pick.name}, with {work.expect(template.name, pick.growth, 'percent')}"
    return {
        "part": pick.name, "told": told.pop(pick.name), "now": _amount(work, pick.after.value),
        "then": _amount(work, pick.before.value), "listing": listed([f"{name} {rate}" for name, rate in told.items()]),
    }  # fmt: skip


def _reconcile(template: Template, work: Work, found: Breakdown, parts: list[Part]) -> dict[str, str]:
    work.use(metrics()["revenue"].names, work.telling.period(), found.after)
    total = _sum(work, found, [part.after.value for part in parts], work.telling.period())
    difference = Fraction(found.after.value) - total
    told, now, whole = (
        work.expect(template.name, difference, "money"),
        _amount(work, found.after.value),
        _amount(work, total),
    )
    work.line(f"Difference = {now} − {whole} = {told}")
    note = "The difference is what is eliminated on consolidation." if difference else "They add up exactly."
    return {"total": whole, "now": now, "told": told, "note": note}


def _shift(template: Template, work: Work, found: Breakdown, parts: list[Part]) -> dict[str, str]:
    largest = parts[0]
    after = _sum(work, found, [part.after.value for part in parts], work.telling.period())
    before = _sum(work, found, [part.before.value for part in parts], work.telling.period(-1))
    shares = Fraction(largest.before.value) / before, Fraction(largest.after.value) / after
    then, now = (work.telling.told(work.derive(share, "number"), "percent") for share in shares)
    change = shares[1] - shares[0]
    for fact, total, share, offset in ((largest.before, before, then, -1), (largest.after, after, now, 0)):
        amounts = f"{_amount(work, fact.value)} / {_amount(work, total)}"
        work.line(f"Share of {largest.name}, {work.telling.period(offset)} = {amounts} = {share}")
    exactly = work.difference("Change", shares[1], shares[0], "percent")
    told = work.expect(template.name, change, "points")
    return {
        "exactly": exactly,
        "part": largest.name,
        "told": told.lstrip("-"),
        "then": then,
        "now": now,
        **moved(float(change)),
    }


def _contribution(template: Template, work: Work, found: Breakdown, parts: list[Part]) -> dict[str, str]:
    told = {}
    for part in parts:
        now, then = _amount(work, part.after.value), _amount(work, part.before.value)
        told[part.name] = _amount(work, work.derive(Fraction(part.after.value - part.before.value)))
        work.line(f"Change of {part.name} = {now} − {then} = {told[part.name]}")
    total = sum(part.after.value - part.before.value for part in parts)
    pick = max(parts, key=lambda part: abs(part.after.value - part.before.value))
    if (pick.after.value - pick.before.value) * total <= 0:
        raise NotComputable("the largest change goes against the change of the whole")
    by = work.expect(template.name, Fraction(pick.after.value - pick.before.value), "money")
    work.solution.result = f"{pick.name}, with {by}"
    rest = {name: change for name, change in told.items() if name != pick.name}
    return {
        "part": pick.name,
        "told": told[pick.name],
        "listing": listed([f"{name} {by}" for name, by in rest.items()]),
    }


def _spread(template: Template, work: Work, found: Breakdown, parts: list[Part]) -> dict[str, str]:
    largest, smallest = parts[0], parts[-1]
    told = work.expect(template.name, Fraction(largest.after.value) / Fraction(smallest.after.value), "times")
    now, then = _amount(work, largest.after.value), _amount(work, smallest.after.value)
    work.line(f"{largest.name} / {smallest.name} = {now} / {then} = {told}")
    return {"part": largest.name, "least": smallest.name, "told": told, "now": now, "then": then}
