"""The outcome check without a model: the state has changed as expected, and the user was told what they must know.

    bookings.B105: absent -> {"day": "2026-03-13", "guests": 4, ...}
    bookings.B102.time: "19:00" -> "19:30"

The expected changes are those that the scenario's own calls make, from the same beginning; by which calls the
conversation makes them doesn't matter. What counts as told is in judges/told.py.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from gristmill.errors import Reject
from gristmill.tools.simulation import spoken
from judges.told import is_told
from schemas import JsonObject, Message, canonical_json

_ABSENT = object()


def require_changes(expected: Sequence[str], made: Sequence[str]) -> None:
    """Reject(outcome, wrong_state) where the two lists of changes differ."""
    missing = [f"missing: {line}" for line in expected if line not in made]
    unexpected = [f"unexpected: {line}" for line in made if line not in expected]
    if missing or unexpected:
        raise Reject("outcome", "wrong_state", "; ".join([*missing, *unexpected]))


def changes(before: JsonObject, after: JsonObject, ignored: Sequence[str] = ()) -> list[str]:
    """What has changed, one line for each value, but for keys in `ignored` (free texts)."""
    return [*_changes(before, after, frozenset(ignored), "")]


def _changes(before: Any, after: Any, ignored: frozenset[str], place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in ignored:
                inner = f"{place}.{key}" if place else key
                yield from _changes(before.get(key, _ABSENT), after.get(key, _ABSENT), ignored, inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, ignored, f"{place}.{number}")
    elif before != after:
        yield f"{place}: {_written(before, ignored)} -> {_written(after, ignored)}"


def _written(value: Any, ignored: frozenset[str]) -> str:
    return "absent" if value is _ABSENT else canonical_json(_plain(value, ignored)).decode()


def _plain(value: Any, ignored: frozenset[str]) -> Any:
    """Without ignored keys, and with 22.0 as 22."""
    if isinstance(value, dict):
        return {key: _plain(inner, ignored) for key, inner in value.items() if key not in ignored}
    if isinstance(value, list):
        return [_plain(inner, ignored) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def require_called(names: Sequence[str], talk: Sequence[Message]) -> None:
    """Reject(outcome, tool_not_called): all that can be said where nobody knows the end state."""
    called = {call.function.name for message in talk for call in message.tool_calls}
    for name in names:
        if name not in called:
            raise Reject("outcome", "tool_not_called", f"{name} is never called")


def require_told(tells: Sequence[list[str]], talk: Sequence[Message]) -> None:
    """Reject(outcome, not_told) where the assistant's words lack a fact, in each of the ways to write it. What was said
    before a tool gave the fact was a guess and doesn't count."""
    for ways in tells:
        given = (at for at, message in enumerate(talk) if message.role == "tool" and is_told(ways, message.content))
        heard = spoken(talk[next(given, 0) :])
        if not is_told(ways, "\n".join(message.content for message in heard if message.role == "assistant")):
            raise Reject("outcome", "not_told", f"the assistant never says {' or '.join(ways)} once it is known")
