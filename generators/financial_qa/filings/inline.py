"""Inline XBRL: the facts that a filing tags in its own text, and what the document says about itself.

    <ix:nonFraction name="us-gaap:Revenues" contextRef="c-1" unitRef="usd" scale="6" decimals="-6" sign="-">1,234</...>

The element names are in lower case, as an HTML parser gives them.

Source: https://www.xbrl.org/specification/inlinexbrl-part1/rec-2013-11-18/inlinexbrl-part1-rec-2013-11-18.html.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from generators.financial_qa.facts import Dimensions, Fact

_WORDS = {
    "no": 0, "none": 0, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30,
}  # fmt: skip


class Context(NamedTuple):
    start: date | None
    end: date
    dimensions: Dimensions


class Place(NamedTuple):
    """Where a fact stands: the number of the block, and the name of its row in a table."""

    block: int
    label: str


def read_facts(root: Any, places: Mapping[Any, Place], filed: str) -> Iterator[Fact]:
    """The numeric facts; what has no context, no unit or no number is left out."""
    contexts = {element.get("id"): context for element in root.iter("xbrli:context") if (context := _context(element))}
    units = {element.get("id"): _unit(element) for element in root.iter("xbrli:unit")}
    for element in root.iter("ix:nonfraction"):
        context, unit = contexts.get(element.get("contextref")), units.get(element.get("unitref"))
        value = _value(element)
        if context is None or unit is None or value is None:
            continue
        place = places.get(element, Place(-1, ""))
        yield Fact(
            element.get("name", ""), value, unit, context.start, context.end, context.dimensions,
            _decimals(element), filed, place.block, place.label,
        )  # fmt: skip


def read_about(root: Any) -> dict[str, str]:
    """The document's and entity's own facts: {"DocumentType": "10-K", "EntityRegistrantName": ...}."""
    about: dict[str, str] = {}
    for element in root.iter("ix:nonnumeric"):
        prefix, _, name = (element.get("name") or "").partition(":")
        if prefix == "dei":
            about.setdefault(name, " ".join("".join(element.itertext()).split()))
    return about


def _context(element: Any) -> Context | None:
    try:
        start, end, instant = (
            _date(element, f"xbrli:{name}") for name in ("startdate", "enddate", "instant")
        )  # fmt: skip
    except ValueError:
        return None
    if end is None and instant is None:
        return None
    members = (
        (member.get("dimension", ""), "".join(member.itertext()).strip())
        for member in element.iter("xbrldi:explicitmember", "xbrldi:typedmember")
    )
    return Context(start if end else None, end or instant or date.min, tuple(sorted(members)))


def _date(element: Any, name: str) -> date | None:
    found = next(element.iter(name), None)
    return date.fromisoformat("".join(found.itertext()).strip()[:10]) if found is not None else None


def _unit(element: Any) -> str:
    """USD, shares, USD/shares, pure: without namespaces."""
    parts = [
        [measure.text.strip().rpartition(":")[2] for measure in side.iter("xbrli:measure") if measure.text]
        for side in (*element.iter("xbrli:unitnumerator"), *element.iter("xbrli:unitdenominator"))
    ] or [[measure.text.strip().rpartition(":")[2] for measure in element.iter("xbrli:measure") if measure.text]]
    return "/".join("*".join(part) for part in parts)


def _value(element: Any) -> Decimal | None:
    if element.get("xsi:nil") == "true":
        return None
    text, form = "".join(element.itertext()).strip(), (element.get("format") or "").lower()
    if "zero" in form or text in ("—", "–", "-"):
        return Decimal(0)
    if text.lower() in _WORDS:
        text = str(_WORDS[text.lower()])
    if "comma" in form:  # 1.234,5
        text = text.replace(".", "").replace(",", ".")
    try:
        value = Decimal("".join(text.replace(",", "").split()))
        scaled = value.scaleb(int(element.get("scale") or 0))
    except (InvalidOperation, ValueError):
        return None
    return -scaled if element.get("sign") == "-" else scaled


def _decimals(element: Any) -> int | None:
    text = element.get("decimals") or "INF"
    try:
        return int(text)
    except ValueError:
        return None
