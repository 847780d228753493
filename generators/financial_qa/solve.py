"""Solutions: what a template asks, worked out from the facts of one filing, or of several for a comparison.

    growth of revenue     facts: revenue of fiscal 2024 and 2023     steps: the difference, the quotient
                          expected: 4.5%                             answer: "Revenue rose by 4.5%, from ... to ..."

Each shape gives the facts used, the working line by line, what an answer must say, and the answer. Where a fact is
missing there is no solution.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from random import Random

from generators.financial_qa.formulas import Computed, NotComputable, decimal_of, operand
from generators.financial_qa.segments import solve_segments
from generators.financial_qa.telling import Telling, possessive, spelled, unit_of_difference, when
from generators.financial_qa.templates import TAKEN_OFF, Template
from generators.financial_qa.wording import answer, capital, listed, moved
from generators.financial_qa.work import Solution, Work


def solve(template: Template, telling: Telling, peers: Sequence[Telling], rng: Random) -> Solution:
    """The solution. NotComputable where facts are missing."""
    solution = Solution()
    works = [Work(one, template, solution) for one in (telling, *peers)]
    solution.answer = _SHAPES[template.shape](template, works, rng)
    return solution


def _value(template: Template, works: list[Work], rng: Random) -> str:
    work = works[0]
    done = work.compute(template.formula)
    work.show(done, template.name, template.unit)
    told = work.expect(template.name, done.value, template.unit)
    calculation = f"{done.steps[-1].words} = {done.steps[-1].facts}" if done.steps else ""
    return answer(template.shape, rng, told=told, calculation=calculation, at=_at(work, done), **_names(template, work))


def _growth(template: Template, works: list[Work], rng: Random) -> str:
    work, (before, after), (one, other) = _two(template, works[0], -1)
    if before.value <= 0:
        raise NotComputable(f"{template.name} was not above zero before")
    difference = work.derive(after.value - before.value)
    growth = difference / before.value
    told = work.expect(f"growth of {template.name}", growth, "percent")
    change = work.telling.told(difference, template.unit)
    work.line(f"Change = {other} − {one} = {change}")
    work.line(f"Growth = {change} / {one} = {told}")
    return answer(
        "growth", rng, told=work.telling.told(abs(growth), "percent"),
        difference=work.telling.told(abs(difference), template.unit), then=one, now=other,
        at=_at(work, after), before=_at(work, before, -1), **moved(float(growth)), **_names(template, work),
    )  # fmt: skip


def _change(template: Template, works: list[Work], rng: Random) -> str:
    work, (before, after), (one, other) = _two(template, works[0], -1)
    difference, of_both = after.value - before.value, unit_of_difference(template.unit)
    exactly = work.difference("Change", after.value, before.value, template.unit)
    work.expect(f"change of {template.name}", difference, of_both)
    told = answer(
        "change", rng, told=work.telling.told(abs(difference), of_both), exactly=exactly, then=one, now=other,
        at=_at(work, after), before=_at(work, before, -1), **moved(float(difference)), **_names(template, work),
    )  # fmt: skip
    verdict = template.verdict[difference < 0] if template.verdict and difference else ""
    return f"{verdict.format(c=work.telling.company)} {told}".strip()


def _cagr(template: Template, works: list[Work], rng: Random) -> str:
    work, (first, last), (one, other) = _two(template, works[0], -2)
    if first.value <= 0 or last.value <= 0:
        raise NotComputable(f"{template.name} is not above zero")
    quotient = work.derive(last.value / first.value, "number")
    told = work.expect(f"compound growth of {template.name}", Fraction(float(quotient) ** 0.5) - 1, "percent")
    work.line(f"Quotient = {other} / {one} = {decimal_of(quotient, 4)}")
    work.line(f"Compound rate = square root of {decimal_of(quotient, 4)} − 1 = {told}")
    return answer(
        "cagr", rng, told=told, then=one, now=other, y=work.telling.period(), b=work.telling.period(-2),
        **_names(template, work),
    )  # fmt: skip


def _two(template: Template, work: Work, offset: int) -> tuple[Work, tuple[Computed, Computed], tuple[str, str]]:
    """The formula for an earlier period and for the filing's own, and how its values are told."""
    before, after = work.compute(template.formula, offset), work.compute(template.formula)
    one = work.show(before, f"{template.name} of {work.telling.period(offset)}", template.unit)
    other = work.show(after, f"{template.name} of {work.telling.period()}", template.unit)
    return work, (before, after), (one, other)


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
    work.solution.result = f"{best}, with {told}"
    listing = listed([f"{shown} in {period}" for period, _, shown in series])
    return answer("trend", rng, listing=listing, course=course, best=best, told=told, **_names(template, work))


def _total(template: Template, works: list[Work], rng: Random) -> str:
    work = works[0]
    series = _series(template, work)
    total = sum((value for _, value, _ in series), Fraction(0))
    told = work.expect(f"{template.name} of three years", total, template.unit)
    work.line(f"Total = {' + '.join(operand(shown) for _, _, shown in series)} = {told}")
    listing = listed([f"{shown} in {period}" for period, _, shown in series])
    return answer("total", rng, listing=listing, told=told, **_names(template, work))


def _compare(template: Template, works: list[Work], rng: Random) -> str:
    found: list[tuple[Computed, str, Work]] = []
    for work in works:
        done, name = work.compute(template.formula), f"{template.name} of {work.telling.company}"
        work.show(done, name, template.unit)
        found.append((done, work.expect(name, done.value, template.unit), work))
    found.sort(key=lambda one: -one[0].value)
    (most, high, first), (least, low, _) = found[0], found[-1]
    if high == low:
        raise NotComputable(f"both have a {template.name} of {high}")
    exactly = first.difference("Difference", most.value, least.value, template.unit)
    difference = first.expect("difference", most.value - least.value, unit_of_difference(template.unit), required=False)
    first.solution.result = f"{first.telling.company}, by {difference}"
    return answer(
        "compare", rng, listing=listed([f"{told} at {work.telling.company}" for _, told, work in found]),
        difference=difference, exactly=exactly, at=_at(first, most), most="higher" if len(found) == 2 else "highest",
        note=_different_periods([work.telling for work in works]), **_names(template, first),
    )  # fmt: skip


def _bridge(template: Template, works: list[Work], rng: Random) -> str:
    """Parts that give a whole which the filing tells by itself. NotComputable where they don't."""
    work, product = works[0], template.how == "product"
    parts: list[tuple[str, Fraction, str, bool]] = []
    words, shown, joined = "", "", Fraction(product)
    for name, formula in template.parts.items():
        taken_off = formula.startswith(TAKEN_OFF)
        done, unit = work.compute([formula.removeprefix(TAKEN_OFF)]), template.units.get(name, template.unit)
        work.show(done, name, unit)
        parts.append((name, done.value, work.expect(name, done.value, unit), taken_off))
        joined = joined * done.value if product else joined + done.value * (-1 if taken_off else 1)
        sign = f" {'×' if product else '−' if taken_off else '+'} " if shown else ""
        words += f"{sign}{name}"
        shown += f"{sign}{operand(parts[-1][2] if unit == 'money' else str(decimal_of(done.value, 4)))}"
    whole = work.compute([template.whole])
    if joined != whole.value:
        raise NotComputable(f"the parts don't come to {template.name}")
    told = work.expect(template.name, whole.value, template.unit)
    work.line(f"{capital(template.name)} = {words} = {shown} = {told}")
    kept, taken = ([part for part in parts if part[3] is off] for off in (False, True))
    listing = listed([f"{name} of {amount}" for name, _, amount, _ in kept])
    listing += f", less {listed([f'{name} of {amount}' for name, _, amount, _ in taken])}" if taken else ""
    rivals, kind = (taken, "deduction") if taken else (kept, "part")
    largest = max(rivals, key=lambda part: abs(part[1]))[0]
    note = f"The {'larger' if len(rivals) == 2 else 'largest'} {kind} is {largest}."
    return answer(
        "bridge", rng, told=told, at=_at(work, whole), listing=listing,
        note="" if product or len(rivals) == 1 else note, **_names(template, work),
    )  # fmt: skip


_SHAPES: dict[str, Callable[[Template, list[Work], Random], str]] = {
    "value": _value, "lookup": _value, "growth": _growth, "change": _change, "trend": _trend, "total": _total,
    "cagr": _cagr, "compare": _compare, "bridge": _bridge, "segments": solve_segments,
}  # fmt: skip


def _names(template: Template, work: Work) -> dict[str, str]:
    return {"c": work.telling.company, "cs": work.telling.possessive(), "name": template.name}


def _at(work: Work, done: Computed, offset: int = 0) -> str:
    """ "in fiscal 2023", or "at the end of fiscal 2023" for what follows from balances alone."""
    return f"{when(*done.inputs.values())} {work.telling.period(offset)}"


def _different_periods(tellings: Sequence[Telling]) -> str:
    """A word on fiscal periods that don't coincide."""
    ends = [one.filing.period_end for one in tellings]
    if (max(ends) - min(ends)).days <= 45:
        return ""
    spans = [f"{possessive(one.company)} ended on {spelled(one.filing.period_end)}" for one in tellings]
    return f"Their fiscal periods differ: {listed(spans)}."
