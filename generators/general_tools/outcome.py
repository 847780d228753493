"""The outcome check without a model: the end state is the expected one, and the user was told what they must know.

    {"bookings": {"B104": {"time": "19:00" -> "20:00"}}}            wrong_state: bookings.B104.time is 20:00, not 19:00

The expected state is what the scenario's own calls lead to, from the same beginning. Texts are compared without case
and spacing, numbers by value ("1,250.00" tells 1250).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from gristmill.errors import Reject
from gristmill.tools.simulation import spoken
from schemas import JsonObject, Message

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def require_state(expected: JsonObject, found: JsonObject, ignored: Sequence[str] = ()) -> None:
    """Reject(outcome, wrong_state) with the differences, but for keys in `ignored` (free texts)."""
    differences = list(differing(expected, found, frozenset(ignored)))
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise Reject("outcome", "wrong_state", "; ".join(differences[:5]) + more)


def differing(expected: Any, found: Any, ignored: frozenset[str] = frozenset(), place: str = "") -> Iterator[str]:
    """Where two JSON values differ, one sentence each."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if key in ignored:
                continue
            inner = f"{place}.{key}" if place else key
            if key not in found:
                yield f"{inner} is missing"
            elif key not in expected:
                yield f"{inner} is not expected"
            else:
                yield from differing(expected[key], found[key], ignored, inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differing(one, other, ignored, f"{place}.{number}")
    elif expected != found:
        yield f"{place} is {found!r}, not {expected!r}"


def require_told(tells: Sequence[str | list[str]], talk: Sequence[Message]) -> None:
    """Reject(outcome, not_told) where the assistant's words lack one of the texts."""
    said = " ".join(message.content for message in spoken(talk) if message.role == "assistant")
    for one in tells:
        ways = [one] if isinstance(one, str) else one
        if not any(is_told(str(way), said) for way in ways):
            raise Reject("outcome", "not_told", f"the assistant never says {' or '.join(map(str, ways))}")


def is_told(text: str, said: str) -> bool:
    if _PLAIN_NUMBER.fullmatch(text):
        return any(float(number.replace(",", "")) == abs(float(text)) for number in _NUMBER.findall(said))
    wanted, heard = (" ".join(one.casefold().split()) for one in (text, said))
    return re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", heard) is not None
