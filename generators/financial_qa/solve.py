"""Solutions: what a template asks, worked out from the facts of one filing, or of several for a comparison.

    growth of revenue     facts: revenue of fiscal 2024 and 2023     steps: the difference, the quotient
                          expected: 4.5%                             answer: "Revenue rose 4.5%, from ... to ..."

Each shape gives the facts used, the working line by line, what an answer must say, and the answer. Where a fact is
missing there is no solution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing
from generators.financial_qa.formulas import Computed, Dimension, NotComputable, compute, decimal_of, names_in, parsed, shifted
from generators.financial_qa.metrics import end_of, metrics
from generators.financial_qa.telling import Telling, Unit, possessive, scale_of, spelled
from generators.financial_qa.templates import Template


@dataclass(frozen=True, slots=True)
class Used:
    """A fact in a solution: whose, what it is called there (and elsewhere), and of which period."""

    company: str
    names: tuple[str, ...]
    period: str
    fact: Fact
    told: str

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Expected:
    """A figure that the answer gives, or must give."""

    name: str
    value: Fraction
    unit: Unit
    required: bool = True


@dataclass(slots=True)
class Solution:
    """`derived` are all values on the way, so that a judge knows them too."""

    used: list[Used] = field(default_factory=list)
    derived: list[tuple[Fraction, Dimension]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    answer: str = ""
    formula: str = ""


class Work:
    """One filing in a solution: computes formulas and collects what they use."""

    def __init__(self, telling: Telling, solution: Solution) -> None:
        self.telling, self.solution = telling, solution

    def compute(self, formulas: Sequence[str], offset: int = 0) -> Computed:
        """The first of the formulas for which the facts are there, `offset` years away."""
        problem = NotComputable("no formula")
        for formula in formulas:
            try:
                done = compute(shifted(formula, offset) if offset else formula, self.telling.filing, self.telling)
            except NotComputable as fault:
                problem = fault
                continue
            self.solution.formula = self.solution.formula or formula
            self._use(done)
            return done
        raise problem

    def _use(self, done: Computed) -> None:
        self.solution.derived += [(step.value, step.dimension) for step in done.steps]
        for (key, offset), fact in done.inputs.items():
            self.use(metrics()[key].names, self.telling.period(offset), fact)

    def use(self, names: tuple[str, ...], period: str, fact: Fact) -> None:
        used = Used(self.telling.company, names, period, fact, self.telling.figure(fact))
        if used not in self.solution.used:
            self.solution.used.append(used)

    def working(self, done: Computed, label: str, unit: Unit) -> None:
        """A line for each step; the last one ends in the result as it is told."""
        told = self.telling.told(done.value, unit)
        for step in done.steps[:-1]:
            self.line(f"{capital(step.words)} = {step.figures} = {self.telling.result(step.value, step.dimension)}")
        if done.steps:
            last = done.steps[-1]
            exact = self.telling.result(last.value, last.dimension)
            shown = told if exact == told else f"{exact}, or {told}" if unit in ("percent", "points") else told
            self.line(f"{capital(label)} = {last.words} = {last.figures} = {shown}")
        else:
            ((_, fact),) = done.inputs.items()
            self.line(f"{capital(label)}: {self.telling.figure(fact)}")

    def line(self, line: str) -> None:
        if line not in self.solution.steps:
            self.solution.steps.append(line)

    def derive(self, value: Fraction, dimension: Dimension = "money") -> Fraction:
        self.solution.derived.append((value, dimension))
        return value


def scaled(telling: Telling, template: Template) -> Telling:
    """In the scale of the facts that the template may use."""
    keys = {name for formula in template.all_formulas() for name, _ in names_in(parsed(formula))}
    concepts = {concept for key in keys for concept in metrics()[key].concepts}
    first, last = end_of(telling.filing, -3), telling.filing.period_end
    facts = [
        fact for concept in concepts for fact in telling.filing.facts.of(concept)
        if not fact.dimensions and first < fact.end <= last
    ]  # fmt: skip
    return replace(telling, scale=scale_of(facts or telling.filing.facts))


# --- shapes ----------------------------------------------------------------------------------------------------------


def solve(template: Template, telling: Telling, peers: Sequence[Telling], rng: Random) -> Solution:
    """The solution. NotComputable where facts are missing."""
    from generators.financial_qa.segments import solve_segments

    solution = Solution()
    works = [Work(scaled(one, template), solution) for one in (telling, *peers)]
    shapes: dict[str, Callable[[Template, list[Work], Random], None]] = {
        "value": _value, "lookup": _lookup, "growth": _growth, "change": _change, "trend": _trend, "total": _total,
        "cagr": _cagr, "compare": _compare, "bridge": _bridge, "segments": solve_segments,
    }  # fmt: skip
    shapes[template.shape](template, works, rng)
    return solution


def _value(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    done, unit = work.compute(template.formula), template.unit
    work.working(done, template.name, unit)
    told = work.telling.told(done.value, unit)
    expect(work, template.name, done.value, unit)
    inputs = listed([f"{used.name} of {used.told}" + ("" if used.period == work.telling.period() else f" in {used.period}")
                     for used in work.solution.used])  # fmt: skip
    work.solution.answer = rng.choice(
        [
            f"{capital(work.telling.possessive())} {template.name} for {work.telling.period()} was {told}. It follows from {inputs}.",
            f"{told} was the {template.name} of {work.telling.company} for {work.telling.period()}, given {inputs}.",
            f"For {work.telling.period()}, {template.name} comes to {told}: the filing shows {inputs}.",
            f"With {inputs}, {work.telling.possessive()} {template.name} for {work.telling.period()} works out at {told}.",
        ]
    )


def _lookup(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    done = work.compute(template.formula)
    work.working(done, template.name, template.unit)
    expect(work, template.name, done.value, template.unit)
    told, period = work.solution.used[0].told, work.telling.period()
    work.solution.answer = rng.choice(
        [
            f"{work.telling.company} reported {template.name} of {told} for {period}.",
            f"For {period} the filing shows {template.name} of {told}.",
        ]
    )


def _growth(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    before, after = work.compute(template.formula, -1), work.compute(template.formula)
    if before.value <= 0:
        raise NotComputable(f"{template.name} was not above zero before")
    telling, unit = work.telling, template.unit
    work.working(before, f"{template.name} of {telling.period(-1)}", unit)
    work.working(after, f"{template.name} of {telling.period()}", unit)
    growth = (after.value - before.value) / before.value
    one, other = telling.told(before.value, unit), telling.told(after.value, unit)
    difference = telling.told(work.derive(after.value - before.value), unit)
    work.line(f"Change = {other} − {one} = {difference}")
    work.line(f"Growth = {difference} / {one} = {telling.told(growth, 'percent')}")
    expect(work, f"growth of {template.name}", growth, "percent")
    told = telling.told(abs(growth), "percent")
    work.solution.answer = rng.choice(
        [
            f"{capital(template.name)} of {telling.company} {moved(growth)} {told}, from {one} in {telling.period(-1)} to {other} in {telling.period()}.",
            f"It {moved(growth)} {told}: {template.name} was {other} in {telling.period()}, against {one} in {telling.period(-1)}, a difference of {difference}.",
            f"From {telling.period(-1)} to {telling.period()}, {template.name} went from {one} to {other}, {a_change(growth)} of {told}.",
        ]
    )


def _change(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    before, after = work.compute(template.formula, -1), work.compute(template.formula)
    telling, unit = work.telling, template.unit
    work.working(before, f"{template.name} of {telling.period(-1)}", unit)
    work.working(after, f"{template.name} of {telling.period()}", unit)
    difference = after.value - before.value
    of_difference: Unit = "points" if unit == "percent" else unit
    one, other = telling.told(before.value, unit), telling.told(after.value, unit)
    signed_told, told = telling.told(difference, of_difference), telling.told(abs(difference), of_difference)
    work.line(f"Change = {other} − {one} = {signed_told}" + (" before rounding of the two" if inexact(before, after) else ""))
    expect(work, f"change of {template.name}", difference, of_difference)
    work.solution.answer = rng.choice(
        [
            f"{capital(template.name)} of {telling.company} {moved(difference)} {told}, from {one} for {telling.period(-1)} to {other} for {telling.period()}.",
            f"It {moved(difference)} {told}. For {telling.period(-1)} the figure was {one}, for {telling.period()} it was {other}.",
            f"{capital(template.name)} came to {other} for {telling.period()} after {one} for {telling.period(-1)}: {a_change(difference)} of {told}.",
        ]
    )


def _series(template: Template, work: Work) -> list[tuple[str, Fraction]]:
    found = []
    for offset in (-2, -1, 0):
        done = work.compute(template.formula, offset)
        work.working(done, f"{template.name} of {work.telling.period(offset)}", template.unit)
        found.append((work.telling.period(offset), done.value))
    return found


def _trend(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    series, unit = _series(template, work), template.unit
    for period, value in series:
        expect(work, f"{template.name} of {period}", value, unit)
    values = [value for _, value in series]
    best = max(series, key=lambda point: point[1])
    told = [f"{work.telling.told(value, unit)} in {period}" for period, value in series]
    course = (
        "It rose each year" if values[0] < values[1] < values[2]
        else "It fell each year" if values[0] > values[1] > values[2]
        else "There is no steady direction"
    )  # fmt: skip
    work.line(f"The highest of the three is {work.telling.told(best[1], unit)}, in {best[0]}.")
    highest = f"it was highest in {best[0]}, at {work.telling.told(best[1], unit)}"
    work.solution.answer = rng.choice(
        [
            f"{capital(work.telling.possessive())} {template.name} was {listed(told)}. {course}; {highest}.",
            f"{course}: {listed(told)}. For {work.telling.company}, {highest}.",
        ]
    )


def _total(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    series, unit = _series(template, work), template.unit
    total = sum((value for _, value in series), Fraction(0))
    told = [work.telling.told(value, unit) for _, value in series]
    work.line(f"Total = {' + '.join(told)} = {work.telling.told(total, unit)}")
    expect(work, f"{template.name} of three years", total, unit)
    parts = listed([f"{amount} in {period}" for amount, (period, _) in zip(told, series, strict=True)])
    work.solution.answer = rng.choice(
        [
            f"In all it was {work.telling.told(total, unit)}: {parts}.",
            f"{capital(template.name)} of {work.telling.company} came to {work.telling.told(total, unit)} over the three years, that is {parts}.",
        ]
    )


def _cagr(template: Template, works: list[Work], rng: Random) -> None:
    work = works[0]
    first, last = work.compute(template.formula, -2), work.compute(template.formula)
    if first.value <= 0 or last.value <= 0:
        raise NotComputable(f"{template.name} is not above zero")
    telling, unit = work.telling, template.unit
    work.working(first, f"{template.name} of {telling.period(-2)}", unit)
    work.working(last, f"{template.name} of {telling.period()}", unit)
    quotient = work.derive(last.value / first.value, "number")
    rate = Fraction(float(quotient) ** 0.5) - 1
    one, other, told = telling.told(first.value, unit), telling.told(last.value, unit), telling.told(rate, "percent")
    work.line(f"Quotient = {other} / {one} = {decimal_of(quotient, 4)}")
    work.line(f"Compound rate = square root of {decimal_of(quotient, 4)} − 1 = {told}")
    expect(work, f"compound growth of {template.name}", rate, "percent")
    work.solution.answer = rng.choice(
        [
            f"{capital(template.name)} of {telling.company} compounded at {told} a year, from {one} in {telling.period(-2)} to {other} in {telling.period()}.",
            f"The compound annual rate is {told}: {template.name} went from {one} to {other} within two years, {telling.period(-2)} to {telling.period()}.",
        ]
    )


def _compare(template: Template, works: list[Work], rng: Random) -> None:
    found: list[tuple[Work, Fraction]] = []
    unit = template.unit
    for work in works:
        done = work.compute(template.formula)
        work.working(done, f"{template.name} of {work.telling.company}", unit)
        expect(work, f"{template.name} of {work.telling.company}", done.value, unit)
        found.append((work, done.value))
    found.sort(key=lambda one: -one[1])
    (first, most), (_, least) = found[0], found[-1]
    gap: Unit = "points" if unit == "percent" else unit
    difference = first.telling.told(most - least, gap)
    first.line(f"Difference = {first.telling.told(most, unit)} − {first.telling.told(least, unit)} = {difference} before rounding")
    expect(first, "difference", most - least, gap, required=False)
    told = [f"{first.telling.told(value, unit)} at {work.telling.company}" for work, value in found]
    answer = rng.choice(
        [
            f"{capital(first.telling.company)} had the higher {template.name} for {first.telling.period()}: {listed(told)}, {difference} apart.",
            f"{capital(template.name)} for {first.telling.period()} was {listed(told)}, so {first.telling.company} is ahead by {difference}.",
        ]
    )
    first.solution.answer = f"{answer} {different_years([work.telling.filing for work in works], [work.telling for work in works])}".strip()


def _bridge(template: Template, works: list[Work], rng: Random) -> None:
    work, parts = works[0], []
    for name, formula in template.parts.items():
        done, unit = work.compute([formula]), template.units.get(name, template.unit)
        work.working(done, name, unit)
        expect(work, name, done.value, unit)
        parts.append((name, done.value, work.telling.told(done.value, unit)))
    whole = work.compute([template.whole])
    told = work.telling.told(whole.value, template.unit)
    sign = " × " if template.how == "product" else " + "
    work.line(f"{capital(template.name)} = {sign.join(amount for _, _, amount in parts)} = {told}")
    expect(work, template.name, whole.value, template.unit)
    listing = listed([f"{name} {amount}" for name, _, amount in parts])
    joined = "multiply to" if template.how == "product" else "add up to"
    largest = max(parts, key=lambda part: abs(part[1]))[0]
    weighed = "" if template.how == "product" else f" The largest part by size is {largest}."
    period = work.telling.period()
    work.solution.answer = rng.choice(
        [
            f"For {period}, the parts at {work.telling.company} are {listing}. They {joined} {template.name} of {told}.{weighed}",
            f"{capital(template.name)} was {told} for {period}: {listing}.{weighed}",
        ]
    )


# --- words -----------------------------------------------------------------------------------------------------------


def expect(work: Work, name: str, value: Fraction, unit: Unit, *, required: bool = True) -> None:
    work.solution.expected.append(Expected(name, value, unit, required))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def moved(change: Fraction) -> str:
    return "rose by" if change > 0 else "fell by" if change < 0 else "changed by"


def a_change(change: Fraction) -> str:
    return "an increase" if change > 0 else "a decrease" if change < 0 else "a change"


def inexact(*computed: Computed) -> bool:
    return any(done.value.denominator != 1 for done in computed)


def different_years(filings: Sequence[Filing], tellings: Sequence[Telling]) -> str:
    """A word on fiscal years that don't coincide."""
    ends = [filing.period_end for filing in filings]
    if max(ends) and (max(ends) - min(ends)).days <= 45:
        return ""
    spans = listed([f"{possessive(one.company)} ended on {spelled(one.filing.period_end)}" for one in tellings])
    return f"Their fiscal periods differ: {spans}."
