"""A solution in the making: the facts used, the working line by line, values on the way, what an answer must say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from generators.financial_qa.facts import Fact
from generators.financial_qa.formulas import (
    Computed,
    Dimension,
    NotComputable,
    compute,
    decimal_of,
    names_in,
    operand,
    parsed,
)
from generators.financial_qa.metrics import end_of, metrics
from generators.financial_qa.telling import PLACES, Telling, Unit, scale_of, unit_of_difference, when
from generators.financial_qa.templates import Template
from generators.financial_qa.wording import capital


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

    @property
    def when(self) -> str:
        return f"{when(self.fact)} {self.period}"


@dataclass(frozen=True, slots=True)
class Expected:
    """A figure that the answer gives, or must give."""

    name: str
    value: Fraction
    unit: Unit
    required: bool = True


@dataclass(slots=True)
class Solution:
    """`derived` are all values on the way, so that a judge knows them too; the working ends in `result`."""

    used: list[Used] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    derived: list[tuple[Fraction, Dimension]] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    answer: str = ""
    formula: str = ""
    result: str = ""

    def of(self, company: str) -> list[Fact]:
        return [used.fact for used in self.used if used.company == company]


class Work:
    """One filing in a solution: computes formulas and notes what they use."""

    def __init__(self, telling: Telling, template: Template, solution: Solution) -> None:
        self.telling = replace(telling, scale=scale_of(_facts(telling, template) or telling.filing.facts))
        self.solution = solution
        self._compared = template.compared

    def compute(self, formulas: Sequence[str], offset: int = 0) -> Computed:
        """The first of the formulas for which the facts are there, `offset` years away."""
        problem = NotComputable("no formula")
        for formula in formulas:
            try:
                done = compute(formula, self.telling.filing, self.telling, offset, self._compared)
            except NotComputable as fault:
                problem = fault
                continue
            self.solution.formula = self.solution.formula or formula
            self.solution.derived += [(step.value, step.dimension) for step in done.steps]
            for (key, years), fact in done.inputs.items():
                self.use(metrics()[key].names, self.telling.period(years), fact)
            return done
        raise problem

    def use(self, names: tuple[str, ...], period: str, fact: Fact) -> None:
        used = Used(self.telling.company, names, period, fact, self.telling.figure(fact))
        if used not in self.solution.used:
            self.solution.used.append(used)

    def show(self, done: Computed, label: str, unit: Unit) -> str:
        """A line for each step, the last one ending in the result as it is told; the result. A bare fact has none."""
        told = self.telling.told(done.value, unit)
        for step in done.steps[:-1]:
            self.line(f"{capital(step.words)} = {step.figures} = {self.telling.result(step.value, step.dimension)}")
        if done.steps:
            last = done.steps[-1]
            exact = self.telling.result(last.value, last.dimension)
            shown = f"{exact}, or {told}" if unit in ("percent", "points") else told
            self.line(f"{capital(label)} = {last.words} = {last.figures} = {shown}")
        return told

    def line(self, line: str) -> None:
        if line not in self.solution.steps:
            self.solution.steps.append(line)

    def derive(self, value: Fraction, dimension: Dimension = "money") -> Fraction:
        self.solution.derived.append((value, dimension))
        return value

    def difference(self, label: str, most: Fraction, least: Fraction, unit: Unit) -> str:
        """A line for the difference of two results. Where it isn't that of the results as they are told, the line tells
        all of them with two places more, and a word on it is given.
        """
        of_both = unit_of_difference(unit)
        told = self.telling.told(most - least, of_both)
        one, other, finer = self.telling.told(most, unit), self.telling.told(least, unit), ""
        if unit != "money" and _rounded(most, unit) - _rounded(least, unit) != _rounded(most - least, unit):
            one, other = (self.telling.told(value, unit, 2) for value in (most, least))
            between = Fraction(_rounded(most, unit, 2) - _rounded(least, unit, 2))
            finer = f"{self.telling.told(between / (100 if unit == 'percent' else 1), of_both, 2)}, or "
        self.line(f"{label} = {one} − {operand(other)} = {finer}{told}")
        return " (taken before rounding)" if finer else ""

    def expect(self, name: str, value: Fraction, unit: Unit, *, required: bool = True) -> str:
        """Notes a result, and gives it as it is told."""
        self.solution.expected.append(Expected(name, value, unit, required))
        self.solution.result = self.telling.told(value, unit)
        return self.solution.result


def _rounded(value: Fraction, unit: Unit, finer: int = 0) -> Decimal:
    return decimal_of(value * 100 if unit in ("percent", "points") else value, PLACES[unit] + finer)


def _facts(telling: Telling, template: Template) -> Iterable[Fact]:
    """What the template may use: its figures are all told in the finest of their scales."""
    keys = {name for formula in template.all_formulas() for name, _ in names_in(parsed(formula))} or {"revenue"}
    first, last = end_of(telling.filing, -3), telling.filing.period_end
    return [
        fact
        for key in keys
        for concept in metrics()[key].concepts
        for fact in telling.filing.facts.of(concept)
        if not fact.dimensions and first < fact.end <= last
    ]
