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
from typing import TYPE_CHECKING

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing
from generators.financial_qa.formulas import NotComputable
from generators.financial_qa.metrics import find, fits, metrics
from generators.financial_qa.telling import Unit

if TYPE_CHECKING:
    from generators.financial_qa.solve import Work
    from generators.financial_qa.templates import Template

_AXES = {
    "us-gaap:StatementBusinessSegmentsAxis": ("segment", "segments"),
    "srt:ProductOrServiceAxis": ("product line", "product lines"),
    "srt:StatementGeographicalAxis": ("region", "regions"),
}
_MOST = 12
"""Members of an axis that are tried in all combinations."""
_ROUNDING = Decimal("0.0005")


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


def solve_segments(template: "Template", works: "list[Work]", rng: Random) -> None:
    """The shape `segments`. NotComputable without a breakdown that adds up."""
    from generators.financial_qa.solve import a_change, capital, expect, listed, moved

    work, found = works[0], breakdown(works[0].telling.filing)
    if found is None:
        raise NotComputable("no breakdown of revenue adds up")
    telling, parts = work.telling, sorted(found.parts, key=lambda part: -part.after.value)
    now, then = telling.period(), telling.period(-1)

    def amount(value: Decimal | Fraction) -> str:
        return telling.told(Fraction(value), "money")

    def sums() -> tuple[Fraction, Fraction]:
        after, before = (sum((Fraction(getattr(part, when).value) for part in parts), Fraction(0)) for when in ("after", "before"))
        work.line(f"Sum of the {found.kinds}, {now} = {' + '.join(amount(part.after.value) for part in parts)} = {amount(after)}")
        return work.derive(after), work.derive(before)

    def result(value: Fraction, unit: Unit) -> str:
        expect(work, template.name, value, unit)
        return telling.told(value, unit)

    both = template.how in ("fastest", "slowest", "shift", "contribution")
    for part in parts:
        work.use((f"revenue of {part.name}", part.name), now, part.after)
        if both:
            work.use((f"revenue of {part.name}", part.name), then, part.before)
    largest, solution = parts[0], work.solution
    match template.how:
        case "largest":
            after, _ = sums()
            told = result(Fraction(largest.after.value) / after, "percent")
            work.line(f"Share of {largest.name} = {amount(largest.after.value)} / {amount(after)} = {told}")
            solution.answer = rng.choice([
                f"{largest.name} was the largest {found.kind} of {telling.company} in {now}: {amount(largest.after.value)}, or {told} of the {amount(after)} that the {found.kinds} brought together.",
                f"The largest {found.kind} is {largest.name}, with {told} ({amount(largest.after.value)} of {amount(after)}) in {now}.",
            ])  # fmt: skip
        case "fastest" | "slowest":
            for part in parts:
                work.line(f"Growth of {part.name} = ({amount(part.after.value)} − {amount(part.before.value)}) / {amount(part.before.value)} = {telling.told(part.growth, 'percent')}")
            pick = (max if template.how == "fastest" else min)(parts, key=lambda part: part.growth)
            solution.derived += [(part.growth, "number") for part in parts]
            told = result(pick.growth, "percent")
            rest = listed([f"{part.name} {telling.told(part.growth, 'percent')}" for part in parts if part is not pick])
            solution.answer = rng.choice([
                f"{pick.name}, with {told} from {then} to {now} ({amount(pick.before.value)} to {amount(pick.after.value)}). The others: {rest}.",
                f"Revenue of {pick.name} went from {amount(pick.before.value)} in {then} to {amount(pick.after.value)} in {now}, {a_change(pick.growth)} of {told.lstrip('-')}. For comparison: {rest}.",
            ])  # fmt: skip
        case "reconcile":
            work.use(metrics()["revenue"].names, now, found.after)
            after, _ = sums()
            difference = Fraction(found.after.value) - after
            told = result(difference, "money")
            work.line(f"Difference = {amount(found.after.value)} − {amount(after)} = {told}")
            why = "They add up exactly." if difference == 0 else "The difference is what is eliminated or not allocated on consolidation."
            solution.answer = f"The {found.kinds} of {telling.company} bring {amount(after)} for {now}, and consolidated revenue is {amount(found.after.value)}: a difference of {told}. {why}"
        case "shift":
            after, before = sums()
            work.line(f"Sum of the {found.kinds}, {then} = {' + '.join(amount(part.before.value) for part in parts)} = {amount(before)}")
            shares = Fraction(largest.before.value) / before, Fraction(largest.after.value) / after
            told = result(shares[1] - shares[0], "points")
            one, other = (telling.told(work.derive(share, "number"), "percent") for share in shares)
            work.line(f"Share of {largest.name}: {one} in {then}, {other} in {now}; change {told}")
            solution.answer = f"The share of {largest.name}, the largest {found.kind} of {telling.company}, {moved(shares[1] - shares[0])} {told.lstrip('-')}, from {one} in {then} to {other} in {now}."
        case "contribution":
            changes = {part: Fraction(part.after.value - part.before.value) for part in parts}
            for part, change in changes.items():
                work.line(f"Change of {part.name} = {amount(part.after.value)} − {amount(part.before.value)} = {amount(change)}")
            solution.derived += [(change, "money") for change in changes.values()]
            pick = max(changes, key=lambda part: abs(changes[part]))
            told = result(changes[pick], "money")
            rest = listed([f"{part.name} {amount(change)}" for part, change in changes.items() if part is not pick])
            solution.answer = f"{capital(pick.name)} weighed most in the change from {then} to {now}: {told}. The others moved by: {rest}."
        case "spread":
            smallest = parts[-1]
            told = result(Fraction(largest.after.value) / Fraction(smallest.after.value), "times")
            work.line(f"{largest.name} / {smallest.name} = {amount(largest.after.value)} / {amount(smallest.after.value)} = {told}")
            solution.answer = f"{largest.name} brought {told} the revenue of {smallest.name} in {now}: {amount(largest.after.value)} against {amount(smallest.after.value)}."
