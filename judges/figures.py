"""Figures in running text: what is an amount, a rate or a count, as people and models write them, and how exactly.

    "Net sales fell 4.5% to $1,134.5 million (FY2023: $1.19bn), or 3.3x inventories."
    4.5 %  ±0.05     1134.5e6 USD ±0.05e6     1.19e9 USD ±0.005e9     3.3 times ±0.05

Years, dates, form and item numbers, list numbers and quarters are no figures. A figure in parentheses may be negative,
as accountants write, or only an aside. A bare number may be in any scale: it is out of a table or an equation.

Source: https://www.sec.gov/info/edgar/edgarfm.htm for how amounts are set; chat models' answers for the rest.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from judges.numbers import SCALES

Kind = Literal["money", "percent", "times", "days", "shares", "bare"]

_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_YEAR = r"(?:19|20)\d\d"
_NO_FIGURE = re.compile(
    "|".join(
        (
            rf"\b{_MONTHS}\.? \d{{1,2}}(?:st|nd|rd|th)?(?:,? {_YEAR})?\b",
            rf"\b\d{{1,2}} {_MONTHS}(?: {_YEAR})?\b",
            rf"\b{_YEAR}-\d\d-\d\d\b",
            r"\b(?:form )?(?:10-[KQ]|8-K|20-F)\b",
            r"\b(?:items?|notes?|part|table|page|exhibit|section|asc|asu|topic)\s+\d+[A-C]?(?:\.\d+)?\b",
            r"\b(?:fy|cy|f|q[1-4] ?|[1-4]q ?)['’]?(?:\d{4}|\d{2})\b|\bq[1-4]\b|\b[1-4]q\b",
            rf"(?<![$€£¥\d.,]){_YEAR}(?:\s?[-–/]\s?(?:19|20)?\d\d)?(?![\d%]|,\d|\.\d|\s?(?:million|billion|thousand|%))\b",
            r"(?m:^\s*(?:[#>*-]\s*)?\(?\d{1,2}[.)](?=\s))",  # the number of a list's item
            r"\b\d+-(?:year|day|month|week|quarter|point|for)\b",
        )
    ),
    re.IGNORECASE,
)
_FIGURE = re.compile(
    r"""(?P<open>\(\s*)?(?P<sign>[-+]\s?)?(?:(?P<currency>US\$|[$€£¥]|(?:USD|EUR|GBP|JPY)\s)\s?)?
        (?P<open2>\(\s*)?(?P<sign2>[-+])?
        (?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?![\d])
        (?:[\s-]?(?P<scale>hundred|thousand|million|billion|trillion|mio|mn|mm|bn|tn|k|m|b|t)s?\b)?
        (?P<close2>\s*\))?(?:\s(?P<after>thousand|million|billion|trillion|bn)\b)?
        \s?(?P<unit>
            %|percentage[ -]points?|per[ ]?cent(?:age)?\b|pct\b|pp\b|p\.p\.|ppts?\b|points?\b|bps?\b|basis[ ]points?
            |(?<=\d)×(?!\s*[\d$€£¥(])|x\b(?!\s*[\d$€£¥(])|times\b|:\s?1\b
            |days?\b|shares\b|cents?\b|(?:US[ ])?dollars\b|USD\b
        )?(?P<close>\s*\))?""",
    re.VERBOSE | re.IGNORECASE,
)
_LETTERS = {"m": 6, "b": 9, "t": 12, "k": 3, "mm": 6}
_DRESS = (
    (r"(?<=\d)[\u00a0\u202f](?=\d{3}\b)", ","),
    (r"[\u00a0\u202f]", " "),
    (r"\\(?:text(?:bf|rm)?|mathrm|boxed)\{([^{}]*)\}", r"\1"),
    (r"\{,\}", ","),
    (r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1 / \2"),
    (r"\\(?:times|cdot)", "×"),
    (r"\\approx", "≈"),
    (r"\\([%$])", r"\1"),
    (r"\\[,;!: ]", " "),
    (r"\\[\[\]()]", " "),
    (r"[−–—](?=\s?[$€£¥]?\d)", "-"),
    (r"\*\*|__|`", ""),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is absolute, in units (a percentage divided by 100); `step` is that of its last digit.

    `sign` is -1 or 1 where one is written, 0 where none is, and None in parentheses. `digits` counts the significant
    ones; `scaled` says that a word such as million belongs to it; `at` is where it stands in the cleaned text.
    """

    value: Fraction
    step: Fraction
    kind: Kind
    sign: int | None
    digits: int
    scaled: bool
    at: tuple[int, int]
    text: str


def cleaned(text: str) -> str:
    """Without the dress of LaTeX and markdown, and with plain signs."""
    for pattern, plain in _DRESS:
        text = re.sub(pattern, plain, text)
    return text


def figures_in(text: str) -> list[Figure]:
    """The figures of a cleaned text, in its order."""
    masked = _NO_FIGURE.sub(lambda match: "·" * len(match[0]), text)
    found = []
    for match in _FIGURE.finditer(masked):
        before = masked[match.start() - 1 : match.start()]
        if re.match(r"[\w·.]", before) and not match["open"]:  # part of a word or a name
            continue
        found.append(_figure(match))
    return found


def _figure(match: re.Match[str]) -> Figure:
    digits = match["number"].replace(",", "")
    value = Fraction(digits)
    step = Fraction(1, 10 ** len(digits.partition(".")[2]))
    unit, currency = (match["unit"] or "").lower().replace(" ", ""), bool(match["currency"])
    factor, kind = _factor(match, unit, currency)
    power = _scale(match["scale"] or match["after"], currency or kind == "money")
    closed = match["close"] or match["close2"]
    within = bool((match["open"] or match["open2"]) and closed)
    before = match.string[: match.start()].rstrip(" ")[-1:]
    between = (match["sign"] or "").endswith(" ") or (bool(match["sign"]) and before.isdigit())  # an operator
    written = f"{'' if between else match['sign'] or ''}{match['sign2'] or ''}"
    sign = None if within and not written else -1 if "-" in written else 1 if written else 0
    significant = len(digits.replace(".", "").lstrip("0")) or 1
    scaled = factor * 10**power
    if power and kind == "bare":
        kind = "money"
    return Figure(value * scaled, step * scaled, kind, sign, significant, bool(power), match.span(), match[0].strip())


def _factor(match: re.Match[str], unit: str, currency: bool) -> tuple[Fraction, Kind]:
    if unit.startswith(("bp", "basis")):
        return Fraction(1, 10_000), "percent"
    if unit.startswith(("%", "per", "pct", "pp", "p.p", "point")):
        return Fraction(1, 100), "percent"
    if unit in ("x", "×", "times") or unit.startswith(":"):
        return Fraction(1), "times"
    if unit.startswith("day"):
        return Fraction(1), "days"
    if unit == "shares":
        return Fraction(1), "shares"
    if unit.startswith("cent"):
        return Fraction(1, 100), "money"
    return Fraction(1), "money" if currency or unit else "bare"


def _scale(word: str | None, money: bool) -> int:
    if not word:
        return 0
    lower = word.lower()
    if lower in _LETTERS:
        return _LETTERS[lower] if money or lower != "b" else 0
    return len(str(int(SCALES[lower]))) - 1
