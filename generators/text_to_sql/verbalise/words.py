"""English on the small scale: plurals, articles, lists, and numbers, dates and units as people write them."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Literal

NumberStyle = Literal["grouped", "plain"]
DateStyle = Literal["iso", "day_month", "month_day"]

_IRREGULAR = {
    "person": "people",
    "child": "children",
    "man": "men",
    "woman": "women",
    "foot": "feet",
    "tooth": "teeth",
    "mouse": "mice",
    "analysis": "analyses",
    "diagnosis": "diagnoses",
    "basis": "bases",
    "crisis": "crises",
    "criterion": "criteria",
    "medium": "media",
    "series": "series",
    "species": "species",
    "status": "statuses",
    "staff": "staff",
    "aircraft": "aircraft",
    "equipment": "equipment",
    "information": "information",
    "revenue": "revenues",
}
_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SYMBOLS = {"euros": "€", "US dollars": "$", "dollars": "$", "pounds": "£", "pounds sterling": "£"}
_CODES = {"euros": "EUR", "US dollars": "USD", "pounds": "GBP", "pounds sterling": "GBP"}


def plural(noun: str) -> str:
    """Of a noun phrase: the head is what stands before the first preposition ("dates of birth")."""
    preposition = re.search(r" (?:of|in|at|per|for|to|on|with|from) ", noun)
    end = preposition.start() if preposition else len(noun)
    start = noun.rfind(" ", 0, end) + 1
    return noun[:start] + _plural_word(noun[start:end]) + noun[end:]


def _plural_word(word: str) -> str:
    lower = word.lower()
    if lower in _IRREGULAR:
        return _IRREGULAR[lower]
    if re.search(r"[^aeiou]y$", lower):
        return word[:-1] + "ies"
    if re.search(r"(s|x|z|ch|sh)$", lower):
        return word + "es"
    return word + "s"


def singular_unit(unit: str) -> str:
    """ "euros" → "euro", "inches" → "inch"; symbols and abbreviations stay."""
    if unit.endswith("ches"):
        return unit[:-2]
    return unit[:-1] if unit.endswith("s") and len(unit) > 3 else unit


def names_unit(noun: str, unit: str) -> bool:
    """The noun says it already: a "number of beds" is 30, not 30 beds."""
    return singular_unit(unit) in map(singular_unit, noun.split(" "))


def indefinite(noun: str) -> str:
    """With "a" or "an", by the sound of the first letter as far as the spelling tells."""
    first = noun.split(" ")[0]
    if first[:2].isupper():  # spelled out: "an IATA code", "a URL"
        vowel = first[0] in "AEFHILMNORSX"
    else:
        spoken = first.lower()
        vowel = spoken[:1] in "aeiou" and not re.match(r"(uni|use|usu|eu|one|once|ur[aeiou])", spoken)
        vowel = vowel or spoken.startswith(("hour", "honest", "heir"))
    return f"{'an' if vowel else 'a'} {noun}"


def listed(parts: Sequence[str], last: str = "and", oxford: bool = False) -> str:
    """a, b and c."""
    if len(parts) < 3:
        return f" {last} ".join(parts)
    return f"{', '.join(parts[:-1])}{',' if oxford else ''} {last} {parts[-1]}"


def spelled(count: int) -> str:
    return _SMALL[count] if 0 <= count < len(_SMALL) else str(count)


def number(value: int | float, style: NumberStyle = "grouped") -> str:
    """ "12,500", "0.5"; plain: "12500"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if style == "grouped" and abs(value) >= 1000 else str(value)


def quantity(value: int | float, unit: str | None, style: NumberStyle = "grouped", symbol: bool = False) -> str:
    """A number with its unit: "1,500 euros", "EUR 1,500", "1 day", "12 %"; a calendar year stays bare."""
    if unit == "year":
        return number(value, "plain")
    text = number(value, style)
    if unit is None:
        return text
    if unit in ("percent", "%"):
        return f"{text}%" if symbol else f"{text} percent"
    symbol = symbol and value >= 0
    if symbol and unit in _SYMBOLS:
        return f"{_SYMBOLS[unit]}{text}"
    if symbol and unit in _CODES:
        return f"{_CODES[unit]} {text}"
    return f"{text} {singular_unit(unit) if value == 1 else unit}"


def day(iso: str, style: DateStyle = "iso") -> str:
    """ "2024-03-05", "5 March 2024" or "March 5, 2024"."""
    if style == "iso":
        return iso[:10]
    when = date.fromisoformat(iso[:10])
    month = _MONTHS[when.month - 1]
    return f"{when.day} {month} {when.year}" if style == "day_month" else f"{month} {when.day}, {when.year}"


def month(period: str, style: DateStyle = "iso") -> str:
    """ "2024-03" or "March 2024"."""
    return period if style == "iso" else f"{_MONTHS[int(period[5:7]) - 1]} {period[:4]}"


def quoted(text: str, mark: str) -> str:
    """In the mark given; in the other one where the text holds it."""
    if mark in text:
        mark = '"' if mark == "'" else "'"
    return f"{mark}{text}{mark}"


def tidy(text: str) -> str:
    """One space between words, none before a mark, no doubled marks."""
    text = re.sub(r"\s+([,.;:?!)])", r"\1", re.sub(r"\s+", " ", text.strip()))
    text = re.sub(r"[,;]+(?=\s*[,.;:?!])", "", text)
    return re.sub(r"\.(?=[?!,;])", "", text)


def sentence(text: str) -> str:
    """Tidy, with capitals where sentences start, and a full stop unless it ends in a mark."""
    text = tidy(text)
    text = re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return text if text[-1:] in ".?!" else f"{text}."
