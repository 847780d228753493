"""How companies, periods, facts and results are told in questions, workings and answers.

Telling(filing, "Harrow Creek Instruments", style=0)
.period(-1)         "fiscal 2023"                       (a quarter: "the quarter ended July 1, 2023")
.figure(fact)       "$1,134,471 thousand"               in the scale of the filing's own tables
result(Fraction(471, 1000), "percent")                  "47.1%"
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal

from generators.financial_qa.facts import Fact
from generators.financial_qa.filings.read import Filing
from generators.financial_qa.formulas import Dimension, decimal_of
from generators.financial_qa.metrics import Metric, end_of

Unit = Literal["percent", "points", "times", "plain", "days", "money", "per_share", "dollars"]

YEAR_STYLES = ("fiscal {year}", "fiscal year {year}", "FY{year}")
_QUARTERS = {"Q1": "first", "Q2": "second", "Q3": "third", "Q4": "fourth"}
_SCALES = {0: "", 3: " thousand", 6: " million", 9: " billion"}
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
PLACES = {"percent": 1, "points": 1, "times": 2, "plain": 2, "days": 1, "per_share": 2, "dollars": 2}
_SUFFIXES = (" inc", " corp", " corporation", " co", " company", " plc", " ltd", " group", " holdings")


@dataclass(frozen=True, slots=True)
class Telling:
    """`style` is the way in which periods are named all through a record."""

    filing: Filing
    company: str
    style: int = 0
    scale: int = 6

    def period(self, offset: int = 0) -> str:
        year = self.filing.fiscal_year + offset
        if self.filing.annual:
            return YEAR_STYLES[self.style % len(YEAR_STYLES)].format(year=year)
        if self.style % 2 and self.filing.fiscal_period in _QUARTERS:
            return f"the {_QUARTERS[self.filing.fiscal_period]} quarter of fiscal {year}"
        return f"the quarter ended {spelled(self._end(offset))}"

    def _end(self, offset: int) -> date:
        """The very day, where a fact tells it."""
        expected = end_of(self.filing, offset)
        ends = {fact.end for fact in self.filing.facts if abs((fact.end - expected).days) <= 12 and fact.days > 60}
        return min(ends, key=lambda end: abs((end - expected).days), default=expected)

    def possessive(self) -> str:
        return possessive(self.company)

    # --- what formulas ask for

    def words(self, metric: Metric, offset: int) -> str:
        return metric.name if offset == 0 else f"{metric.name} of {self.period(offset)}"

    def figure(self, fact: Fact) -> str:
        symbol = _SYMBOLS.get(fact.unit[:3], f"{fact.unit[:3]} ")
        value = Fraction(fact.value)
        if fact.unit == "shares":
            return f"{grouped(value / 10**self.scale, 3)}{_SCALES[self.scale]} shares"
        if "/" in fact.unit:
            return signed(symbol, value, 2)
        return money(value, symbol, self.scale)

    def result(self, value: Fraction, dimension: Dimension) -> str:
        match dimension:
            case "money":
                return money(value, self.symbol, self.scale)
            case "shares":
                return f"{grouped(value / 10**self.scale, 3)}{_SCALES[self.scale]} shares"
            case "per_share":
                return signed(self.symbol, value, 4)
        return grouped(value, 4)

    @property
    def symbol(self) -> str:
        currencies = [fact.unit for fact in self.filing.facts if len(fact.unit) == 3]
        return _SYMBOLS.get(currencies[0] if currencies else "USD", "$")

    def told(self, value: Fraction, unit: Unit, finer: int = 0) -> str:
        """A result as an answer ends in it, or with so many places more."""
        if unit == "money":
            return money(value, self.symbol, self.scale)
        return result(value, unit, self.symbol, finer)


def result(value: Fraction, unit: Unit, symbol: str = "$", finer: int = 0) -> str:
    places = PLACES[unit] + finer
    number = f"{decimal_of(value * 100 if unit in ('percent', 'points') else value, places):,f}"
    match unit:
        case "percent":
            return f"{number}%"
        case "points":
            return f"{number} percentage points"
        case "times":
            return f"{number} times"
        case "days":
            return f"{number} days"
        case "plain":
            return number
    return signed(symbol, value, places)


def unit_of_difference(unit: Unit) -> Unit:
    """Of two results of this unit: "3.5 times" and "2.9 times" differ by a plain 0.6."""
    return "points" if unit == "percent" else "plain" if unit == "times" else unit


def money(value: Fraction, symbol: str, scale: int) -> str:
    scaled = value / 10**scale
    places = next((n for n in range(4) if (scaled * 10**n).denominator == 1), 1)
    return f"{signed(symbol, scaled, places)}{_SCALES[scale]}"


def signed(symbol: str, value: Fraction, places: int) -> str:
    text = f"{decimal_of(abs(value), places):,f}"
    return f"-{symbol}{text}" if value < 0 else f"{symbol}{text}"


def grouped(value: Fraction, places: int) -> str:
    """With thousands separators, and no zeros at the end."""
    text = f"{decimal_of(value, places):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def when(*facts: Fact) -> str:
    """What stands before the period of such facts: balances are of its end."""
    return "in" if any(fact.start for fact in facts) else "at the end of"


def scale_of(facts: Iterable[Fact]) -> int:
    """The power of ten in which the amounts are told: the finest of the facts' own."""
    finest = max((fact.decimals if fact.decimals is not None else 0
                  for fact in facts if "/" not in fact.unit and fact.value), default=-6)  # fmt: skip
    return max(0, min(6, -finest // 3 * 3))


def spelled(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"


def possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def short_name(registered: str) -> str:
    """HARROW CREEK INSTRUMENTS, INC. as people write it."""
    name = registered.split("/")[0].partition("(")[0].strip().rstrip(".")
    while True:
        bare = name.rstrip(",. ")
        suffix = next((suffix for suffix in _SUFFIXES if bare.lower().endswith(suffix)), None)
        if suffix is None or len(bare) - len(suffix) < 3:
            break
        name = bare[: -len(suffix)].rstrip(",.& ")
    name = name.rstrip(",. ")
    return name.title() if name.isupper() and len(name) > 4 else name
