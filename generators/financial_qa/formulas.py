"""Formulas over metrics, computed step by step: the steps are a solution's working, and its proof.

    (revenue - revenue[-1]) / revenue[-1]        revenue[-1] is the period before
    average(assets)                              of the balances at the period's beginning and end
    365 * inventory / cost_of_revenue

Arithmetic is exact (fractions of decimals); nothing is rounded before the last step.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Literal, Protocol

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing
from generators.financial_qa.metrics import Metric, find_series, metrics

_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "−", ast.Mult: "×", ast.Div: "/"}
Dimension = Literal["money", "shares", "per_share", "number"]

Name = tuple[str, int]
"""A metric and how many years it lies from the period: ("revenue", -1)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: its terms in words, the same with figures, and what it gives. `facts` are the figures of the
    facts alone, without a value on the way.
    """

    words: str
    figures: str
    facts: str
    value: Fraction
    dimension: Dimension


@dataclass(slots=True)
class Computed:
    """The value, the facts that went in and the steps, the last of which gives the value."""

    value: Fraction
    inputs: dict[Name, Fact] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


class NotComputable(Exception):
    """A fact is missing, or a divisor is zero or of a sign that makes no sense."""


@cache
def parsed(formula: str) -> ast.expr:
    """The formula's tree. ValueError for anything but arithmetic over known metrics."""
    tree = ast.parse(formula, mode="eval").body
    names_in(tree)
    return tree


def names_in(node: ast.expr) -> list[Name]:
    """The metrics that a formula needs, each once, in its order."""
    match node:
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _SIGNS:
            found = names_in(left) + names_in(right)
        case ast.Constant(value=int()):
            found = []
        case ast.Call(func=ast.Name(id="average"), args=[ast.Name(id=key)]):
            found = [(key, -1), (key, 0)]
        case _:
            found = [_name(node)]
    return list(dict.fromkeys(found))


def _name(node: ast.expr) -> Name:
    match node:
        case ast.Name(id=key) if key in metrics():
            return key, 0
        case ast.Subscript(
            value=ast.Name(id=key), slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(n)))
        ):
            if key in metrics():
                return key, -n
    raise ValueError(f"{ast.unparse(node)} is no metric, number or operation")


def shifted(formula: str, offset: int) -> str:
    """The same formula so many years away."""

    class Shift(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return _at(node.id, offset) if node.id in metrics() else node

        def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
            key, before = _name(node)
            return _at(key, before + offset)

        def visit_Call(self, node: ast.Call) -> ast.expr:
            (argument,) = node.args
            key, _ = _name(argument)
            return ast.parse(
                f"({ast.unparse(_at(key, offset - 1))} + {ast.unparse(_at(key, offset))}) / 2", mode="eval"
            ).body

    return ast.unparse(Shift().visit(ast.parse(formula, mode="eval").body))


def _at(key: str, offset: int) -> ast.expr:
    return ast.parse(f"{key}[{offset}]" if offset else key, mode="eval").body


def compute(formula: str, filing: Filing, show: "Show", offset: int = 0, compared: Sequence[int] = (0,)) -> Computed:
    """The formula's value for the filing's period, or `offset` years away, where it has a value for all periods that
    are `compared`, by the same tags. NotComputable where it has none.
    """
    tree = parsed(shifted(formula, offset) if offset else formula)
    done = Computed(Fraction(0))
    for key, years in _over(formula, compared).items():
        series = find_series(filing, metrics()[key], years)
        if series is None:
            raise NotComputable(f"{metrics()[key].name} is not tagged for {'all periods' if len(years) > 1 else 'it'}")
        done.inputs |= {(key, year + offset): series[year + offset] for year in _wanted(formula)[key]}
    if len({fact.unit[:3] for fact in done.inputs.values() if fact.unit not in ("shares", "pure")}) > 1:
        raise NotComputable("the facts are in several currencies")
    done.value = _Evaluation(done, show).term(tree).value
    return done


class Show(Protocol):
    """How terms are told: a metric in a period, a fact's figure, the value of a step."""

    def words(self, metric: Metric, offset: int) -> str: ...
    def figure(self, fact: Fact) -> str: ...
    def result(self, value: Fraction, dimension: Dimension) -> str: ...


@dataclass(frozen=True, slots=True)
class _Term:
    value: Fraction
    words: str
    figure: str
    facts: str
    dimension: Dimension


class _Evaluation:
    def __init__(self, done: Computed, show: Show) -> None:
        self._done, self._show = done, show

    def term(self, node: ast.expr) -> _Term:
        match node:
            case ast.Constant(value=int(number)):
                return _Term(Fraction(number), str(number), str(number), str(number), "number")
            case ast.Call(args=[ast.Name(id=key)]):
                before, after = self._done.inputs[key, -1], self._done.inputs[key, 0]
                figures = f"({self._show.figure(before)} + {operand(self._show.figure(after))}) / 2"
                value = (Fraction(before.value) + Fraction(after.value)) / 2
                return self._step(
                    f"average {metrics()[key].name}", figures, f"({figures})", value, metrics()[key].measure
                )
            case ast.BinOp(left=left, op=operator, right=right):
                return self._operation(node, left, operator, right)
        key, offset = _name(node)
        fact, metric = self._done.inputs[key, offset], metrics()[key]
        figure = self._show.figure(fact)
        return _Term(Fraction(fact.value), self._show.words(metric, offset), figure, figure, metric.measure)

    def _operation(self, node: ast.expr, left: ast.expr, operator: ast.operator, right: ast.expr) -> _Term:
        one, other = self.term(left), self.term(right)
        match operator:
            case ast.Div():
                if other.value <= 0:
                    raise NotComputable(f"{other.words} is not above zero")
                value, dimension = one.value / other.value, _quotient(one.dimension, other.dimension)
            case ast.Mult():
                value = one.value * other.value
                dimension = other.dimension if one.dimension == "number" else one.dimension
            case _:
                value = one.value + other.value if isinstance(operator, ast.Add) else one.value - other.value
                dimension = one.dimension
        sign = _SIGNS[type(operator)]
        words, facts = (
            f"{_enclosed(left, before, operator)} {sign} {_enclosed(right, after, operator, last=True)}"
            for before, after in ((one.words, other.words), (one.facts, operand(other.facts)))
        )
        return self._step(words, f"{one.figure} {sign} {operand(other.figure)}", facts, value, dimension)

    def _step(self, words: str, figures: str, facts: str, value: Fraction, dimension: Dimension) -> _Term:
        self._done.steps.append(Step(words, figures, facts, value, dimension))
        return _Term(value, words, self._show.result(value, dimension), facts, dimension)


def _quotient(over: Dimension, under: Dimension) -> Dimension:
    if under == "number":
        return over
    return "per_share" if (over, under) == ("money", "shares") else "number"


def _enclosed(node: ast.expr, words: str, operator: ast.operator, *, last: bool = False) -> str:
    """In parentheses where a reader would take it otherwise."""
    if not isinstance(node, ast.BinOp):
        return words
    taken_off = last and isinstance(operator, ast.Sub) and isinstance(node.op, ast.Add | ast.Sub)
    return f"({words})" if taken_off or isinstance(operator, ast.Mult | ast.Div) else words


def decimal_of(value: Fraction, places: int) -> Decimal:
    """Rounded half away from zero, as people round."""
    scaled = abs(value) * 10**places
    whole = int(scaled + Fraction(1, 2))
    return (Decimal(whole) if value >= 0 else Decimal(-whole)).scaleb(-places)


def operand(figure: str) -> str:
    """In parentheses where it is negative: a sign never follows a sign."""
    return f"({figure})" if figure.startswith("-") else figure


def computable(formula: str, filing: Filing, compared: Sequence[int]) -> bool:
    """Whether all facts that it needs for these periods are there."""
    return all(find_series(filing, metrics()[key], years) for key, years in _over(formula, compared).items())


def _over(formula: str, compared: Sequence[int]) -> dict[str, list[int]]:
    """The years of each metric that the formula needs for all of these periods."""
    return {
        key: sorted({year + offset for year in years for offset in compared}) for key, years in _wanted(formula).items()
    }


@cache
def _wanted(formula: str) -> dict[str, list[int]]:
    wanted: dict[str, list[int]] = {}
    for key, offset in names_in(parsed(formula)):
        wanted.setdefault(key, []).append(offset)
    return wanted
