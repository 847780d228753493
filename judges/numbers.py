"""Numbers as people and models write them, with their units.

    "1,234.50"  "$3.2 billion"  "(415)"  "−7"  "12 %"  "3/4"  "2.5e-3"  "1.5 km"  "\\frac{3}{4}"  "1 500"  "1.234,50"

Two quantities are the same where their values are, in a common unit; where one has no unit it takes the other's, and
"12 %" is the same as 12 and as 0.12. Rounding is allowed for by a relative tolerance. A decimal comma is read where
nothing else can be meant: "3,14" alone may be a list of two.

Source: SI prefixes and units, https://www.bipm.org/en/publications/si-brochure.
"""

import re
from dataclasses import dataclass
from math import isclose, isfinite

LONGEST = 80
"""Characters: what is longer is no number but a text about one."""

SCALES = {
    "hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "mn": 1e6, "mio": 1e6, "billion": 1e9, "bn": 1e9,
    "trillion": 1e12, "tn": 1e12, "dozen": 12,
}  # fmt: skip
_CURRENCIES = {
    "$": "USD", "us$": "USD", "usd": "USD", "dollars": "USD", "dollar": "USD", "€": "EUR", "eur": "EUR", "euro": "EUR",
    "euros": "EUR", "£": "GBP", "gbp": "GBP", "¥": "JPY", "jpy": "JPY", "yen": "JPY",
}  # fmt: skip
_UNITS = {  # unit: (its kind, how many of the kind's first unit)
    "m": ("m", 1), "km": ("m", 1e3), "cm": ("m", 1e-2), "mm": ("m", 1e-3), "µm": ("m", 1e-6), "nm": ("m", 1e-9),
    "meter": ("m", 1), "metre": ("m", 1), "kilometer": ("m", 1e3), "kilometre": ("m", 1e3), "mile": ("m", 1609.344),
    "mi": ("m", 1609.344), "foot": ("m", 0.3048), "feet": ("m", 0.3048), "ft": ("m", 0.3048), "inch": ("m", 0.0254),
    "inches": ("m", 0.0254),
    "g": ("g", 1), "kg": ("g", 1e3), "mg": ("g", 1e-3), "gram": ("g", 1), "kilogram": ("g", 1e3), "tonne": ("g", 1e6),
    "s": ("s", 1), "ms": ("s", 1e-3), "min": ("s", 60), "h": ("s", 3600), "second": ("s", 1), "sec": ("s", 1),
    "minute": ("s", 60), "hour": ("s", 3600), "day": ("s", 86400), "week": ("s", 604800),
    "l": ("l", 1), "ml": ("l", 1e-3), "liter": ("l", 1), "litre": ("l", 1),
    "b": ("byte", 1), "byte": ("byte", 1), "kb": ("byte", 1e3), "mb": ("byte", 1e6), "gb": ("byte", 1e9),
    "kib": ("byte", 2**10), "mib": ("byte", 2**20), "gib": ("byte", 2**30),
    "%": ("%", 1), "percent": ("%", 1), "pct": ("%", 1), "bp": ("%", 0.01), "bps": ("%", 0.01),
}  # fmt: skip

_OWN_CASE = {"b", "kb", "Kb", "Mb", "Gb", "M", "Mm", "Mg", "Ms", "MS", "Nm", "NM", "S", "H", "G"}
"""Bits are no bytes, megagrams no milligrams, newton metres no nanometres: these stand for themselves."""
_CHANGING = {"bc", "bce", "score", "squared", "cubed", "factorial", "time", "halves", "half", "third", "quarter"}
"""What may stand after a number like a unit, and makes it another number."""
_AFTER_MONEY = {"M": 1e6, "B": 1e9, "T": 1e12}  # "$5M"; elsewhere these may be anything

_IN_PARENTHESES = re.compile(r"\(\s*(\d[\d,. ]*)\)")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*([^{}]+?)\s*\}\s*\{\s*([^{}]+?)\s*\}")
_COMMA = r"\d{1,3}(?:[.]\d{3})+,\d+ | \d{1,3}(?:[ ]\d{3})+,\d+"  # 1.234,50 or 1 234,50
_POINT = r"\d{1,3}(?:[, ']\d{3})+(?:\.\d+)? | \d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?"  # 1,234.50 or 12,34,567
_QUANTITY = re.compile(
    rf"""(?P<open>\()?\s*(?P<sign>[-+])?\s*(?P<before>US\$|[$€£¥]|USD|EUR|GBP|JPY)?\s*(?P<sign2>[-+])?
        (?P<number>(?P<comma>{_COMMA}) | (?P<points>\d{{1,3}}(?:\.\d{{3}}){{2,}}) | {_POINT} | \d+(?:\.\d+)? | \.\d+)
        (?P<power>[eE][-+]?\d{{1,3}})?
        (?:\s*/\s*(?P<under>\d+(?:\.\d+)?))?
        \s*(?P<scale>(?:hundred|thousand|million|billion|trillion|dozen|mio|mn|bn|tn|k)\b)?
        \s*(?P<unit>%|[A-Za-zµ€£¥°][A-Za-zµ°/²³^0-9]*)?\s*(?P<close>\))?""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in its kind's first unit ("1.5 km": 1500 m), and the number that stands before the unit (1.5).

    An unknown unit stays as it was written, "" is none.
    """

    value: float
    unit: str
    written: float


def parse_quantity(text: str) -> Quantity | None:
    """The number that the whole text is, or None where it is anything else."""
    if len(text) > LONGEST:
        return None
    cleaned = _cleaned(text).rstrip(".")
    match = _QUANTITY.fullmatch(cleaned)
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    number = match["number"].replace(".", "") if match["comma"] or match["points"] else match["number"]
    number = number.replace(",", "." if match["comma"] else "")
    value = float(re.sub("[ ']", "", number) + (match["power"] or ""))
    if match["under"]:
        if float(match["under"]) == 0:
            return None
        value /= float(match["under"])
    value *= SCALES.get((match["scale"] or "").lower(), 1.0)
    if "-" in (match["sign"], match["sign2"]) or match["open"]:  # (415 million)
        value = -value
    unit = match["unit"] or ""
    if match["before"] and unit in _AFTER_MONEY:
        value, unit = value * _AFTER_MONEY[unit], ""
    return _in_base_unit(value, match["before"] or unit) if isfinite(value) else None


def _cleaned(text: str) -> str:
    text = _FRACTION.sub(r"\1/\2", text.strip().strip("$") if text.count("$") == 2 else text.strip())
    for written, plain in (("−", "-"), ("–", "-"), ("’", "'"), ("\u00a0", " "), ("\u202f", " "), ("\\%", "%"),
                           ("\\$", "$"), ("\\,", ""), ("\\!", ""), ("{,}", ","), ("**", "")):  # fmt: skip
        text = text.replace(written, plain)
    return _IN_PARENTHESES.sub(r"-\1", text.strip())  # accountants put losses in parentheses: $(415) million


def _in_base_unit(value: float, written: str) -> Quantity:
    lower = written.lower()
    if written in _OWN_CASE:
        return Quantity(value, written, value)
    if lower in _CURRENCIES:
        return Quantity(value, _CURRENCIES[lower], value)
    unit = _UNITS.get(lower) or _UNITS.get(lower.removesuffix("s"))
    if unit is None:
        return Quantity(value, written if len(written) <= 3 else lower.removesuffix("s"), value)  # mW is not MW
    return Quantity(value * unit[1], unit[0], value)


def same_quantity(one: Quantity, other: Quantity, relative: float = 1e-6) -> bool:
    """Whether two quantities are equal up to the tolerance; see the module's docstring for units.

    Whole numbers that differ are different, unless a larger tolerance than the default is asked for.
    """

    def close(a: float, b: float) -> bool:
        if relative <= 1e-6 and a.is_integer() and b.is_integer():
            return a == b
        return isclose(a, b, rel_tol=relative)

    if one.unit == other.unit:
        return close(one.value, other.value)
    if one.unit and other.unit:
        return False
    bare, with_unit = (one, other) if not one.unit else (other, one)
    if with_unit.unit.lower() in _CHANGING:
        return False
    if close(bare.value, with_unit.written):
        return True
    return with_unit.unit == "%" and close(100 * bare.value, with_unit.value)
