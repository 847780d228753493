"""Solutions: what a template asks, worked out from the facts of one filing, or of several for a comparison.

    growth of revenue     facts: revenue of fiscal 2024 and 2023     steps: the difference, the quotient
                          expected: 4.5%                             answer: "Revenue rose by 4.5%, from ... to ..."

Each shape gives the facts used, the working line by line, what an answer must say, and the answer. Where a fact is
missing there is no solution.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from random import Random

from generators.financial_qa.formulas import NotComputable, decimal_of
from generators.financial_qa.segments import solve_segments
from generators.financial_qa.telling import Telling, Unit, possessive, spelled
from generators.financial_qa.templates import Template
from generators.financial_qa.wording import answer, capital, listed, moved
from generators.financial_qa.work import Solution, Work

OFFSETS = {"growth": (0, -1), "change": (0, -1), "trend": (0, -1, -2), "total": (0, -1, -2), "cagr": (0, -2)}
"""For which periods a shape needs its formula; the others need the filing's own."""


def solve(template: Template, telling: Telling, peers: Sequence[Telling], rng: Random) -> Solution:
    """The solution. NotComputable where facts are missing."""
    solution = Solution()
    works = [Work(one, template, solution) for one in (telling, *peers)]
    solution.answer = _SHAPES[template.shape](template, works, rng)
    return solution


def _value(template: Template, works: list[Work], rng: Random) -> str:
    work, period = works[0], works[0].telling.period()
    done = work.compute(template.formula)
    work.show(done, template.name, template.unit)
    told = work.expect(template.name, done.value, template.unit)
    inputs = [
        f"{used.name} of {used.told}{'' if used.period == period else f' in {used.period}'}"
        for used in work.solution.used
    ]
    return answer(template.shape, rng, told=told, inputs=listed(inputs), y=period, **_names(template, work))


def _growth(template: Template, works: list[Work], rng: Random) -> str:
    work, (before, after), (one, other) = _two(template, works[0], -1)
    if before <= 0:
        raise NotComputable(f"{template.name} was not above zero before")
    difference = work.telling.told(work.derive(after - before), template.unit)
    growth = (after - before) / before
    told = work.expect(f"growth of {template.name}", growth, "percent")
    work.line(f"Change = {other} − {one} = {difference}")
    work.line(f"Growth = {difference} / {one} = {told}")
    return answer(
        "growth", rng, told=work.telling.told(abs(growth), "percent"), difference=difference, then=one, now=other,
        y=work.telling.period(), b=work.telling.period(-1), **moved(float(growth)), **_names(template, work),
    )  # fmt: skip


def _change(template: Template, works: list[Work], rng: Random) -> str:
    work, (before, after), (one, other) = _two(template, works[0], -1)
    difference, unit = after - before, _unit_of_difference(template.unit)
    told = work.expect(f"change of {template.name}", difference, unit)
    exactly = work.rounding(before, after, template.unit)
    work.line(f"Change = {other} − {one} = {told}{exactly}")
    return answer(
        "change", rng, told=work.telling.told(abs(difference), unit), exactly=exactly, then=one, now=other,
        y=work.telling.period(), b=work.telling.period(-1), **moved(float(difference)), **_names(template, work),
    )  # fmt: skip


def _cagr(template: Template, works: list[Work], rng: Random) -> str:
    work, (first, last), (one, other) = _two(template, works[0], -2)
    if first <= 0 or last <= 0:
        raise NotComputable(f"{template.name} is not above zero")
    quotient = work.derive(last / first, "number")
    told = work.expect(f"compound growth of {template.name}", Fraction(float(quotient) ** 0.5) - 1, "percent")
    work.line(f"Quotient = {other} / {one} = {decimal_of(quotient, 4)}")
    work.line(f"Compound rate = square root of {decimal_of(quotient, 4)} − 1 = {told}")
    return answer(
        "cagr", rng, told=told, then=one, now=other, y=work.telling.period(), b=work.telling.period(-2),
        **_names(template, work),
    )  # fmt: skip


def _two(template: Template, work: Work, offset: int) -> tuple[Work, tuple[Fraction, Fraction], tuple[str, str]]:
    """The formula's values for an earlier period and for the filing's own, and how they are told."""
    before, after = work.compute(template.formula, offset), work.compute(template.formula)
    one = work.show(before, f"{template.name} of {work.telling.period(offset)}", template.unit)
    other = work.show(after, f"{template.name} of {work.telling.period()}", template.unit)
    return work, (before.value, after.value), (one, other)


def _series(template: Template, work: Work) -> list[tuple[str, Fraction, str]]:
    """(period, value, told) of three years."""
    found = []
    for offset in (-2, -1, 0):
        done, period = work.compute(template.formula, offset), work.telling.period(offset)
        found.append((period, done.value, work.show(done, f"{template.name} of {period}", template.unit)))
    return found


def _trend(template: Template, works: list[Work], rng: Random) -> str:
    work = works[0]
    series = _series(template, work)
    for period, value, _ in sorted(series, key=lambda point: point[1]):  # the best one is what the working ends in
        work.expect(f"{template.name} of {period}", value, template.unit)
    first, second, third = (value for _, value, _ in series)
    course = "It rose each year" if first < second < third else "There is no steady direction"
    course = "It fell each year" if first > second > third else course
    best, _, told = max(series, key=lambda point: point[1])
    work.line(f"The highest of the three is {told}, in {best}.")
    listing = listed([f"{shown} in {period}" for period, _, shown in series])
    return answer("trend", rng, listing=listing, course=course, best=best, told=told, **_names(template, work))


def _total(template: Template, works: list[Work], rng: Random) -> str:
    work = works[0]
    series = _series(template, work)
    total = sum((value for _, value, _ in series), Fraction(0))
    told = work.expect(f"{template.name} of three years", total, template.unit)
    work.line(f"Total = {' + '.join(shown for _, _, shown in series)} = {told}")
    listing = listed([f"{shown} in {period}" for period, _, shown in series])
    return answer("total", rng, listing=listing, told=told, **_names(template, work))


def _compare(template: Template, works: list[Work], rng: Random) -> str:
    found: list[tuple[Fraction, str, Work]] = []
    for work in works:
        done, name = work.compute(template.formula), f"{template.name} of {work.telling.company}"
        work.show(done, name, template.unit)
        found.append((done.value, work.expect(name, done.value, template.unit), work))
    found.sort(key=lambda one: -one[0])
    (most, high, first), (least, low, _) = found[0], found[-1]
    difference = first.expect("difference", most - least, _unit_of_difference(template.unit), required=False)
    exactly = first.rounding(least, most, template.unit)
    first.line(f"Difference = {high} − {low} = {difference}{exactly}")
    listing = listed([f"{told} at {work.telling.company}" for _, told, work in found])
    note = _different_periods([work.telling for work in works])
    return answer(
        "compare", rng, listing=listing, difference=difference, exactly=exactly, y=first.telling.period(), note=note,
        **_names(template, first),
    )  # fmt: skip


def _bridge(template: Template, works: list[Work], rng: Random) -> str:
    work, parts = works[0], []
    for name, formula in template.parts.items():
        done, unit = work.compute([formula]), template.units.get(name, template.unit)
        work.show(done, name, unit)
        parts.append((name, done.value, work.expect(name, done.value, unit)))
    told = work.expect(template.name, work.compute([template.whole]).value, template.unit)
    product = template.how == "product"
    work.line(f"{capital(template.name)} = {(' × ' if product else ' + ').join(one for _, _, one in parts)} = {told}")
    largest = max(parts, key=lambda part: abs(part[1]))[0]
    return answer(
        "bridge", rng, listing=listed([f"{name} {shown}" for name, _, shown in parts]), told=told,
        joined="multiply to" if product else "add up to", y=work.telling.period(),
        note="" if product else f"The largest part by size is {largest}.", **_names(template, work),
    )  # fmt: skip


_SHAPES: dict[str, Callable[[Template, list[Work], Random], str]] = {
    "value": _value, "lookup": _value, "growth": _growth, "change": _change, "trend": _trend, "total": _total,
    "cagr": _cagr, "compare": _compare, "bridge": _bridge, "segments": solve_segments,
}  # fmt: skip


def _names(template: Template, work: Work) -> dict[str, str]:
    return {"c": work.telling.company, "cs": work.telling.possessive(), "name": template.name}


def _unit_of_difference(unit: Unit) -> Unit:
    return "points" if unit == "percent" else unit


def _different_periods(tellings: Sequence[Telling]) -> str:
    """A word on fiscal periods that don't coincide."""
    ends = [one.filing.period_end for one in tellings]
    if (max(ends) - min(ends)).days <= 45:
        return ""
    spans = [f"{possessive(one.company)} ended on {spelled(one.filing.period_end)}" for one in tellings]
    return f"Their fiscal periods differ: {listed(spans)}."
