"""LIKE and GLOB for SQLite in time that grows with the text's length alone.

SQLite's own try every way to lay a pattern with k wildcards on n characters, some n**k of them, and nothing can stop
them meanwhile: '%a%a%a%a%a%b' on a thousand letters takes years. Taking for each piece the first place where it fits is
enough, which is what the atomic groups say.

    pattern_of("_n%a%b", "")        (?s:\\A.n(?>.*?a).*b\\Z)   without regard to ASCII letters' case

Source: https://sqlite.org/lang_expr.html#like
"""

import re
import sqlite3
from functools import lru_cache
from typing import Any

_NEVER = "(?!)"


def install(connection: sqlite3.Connection) -> None:
    """`x LIKE y ESCAPE z` calls like(y, x, z), and `x GLOB y` calls glob(y, x)."""
    connection.create_function("like", 2, _like, deterministic=True)
    connection.create_function("like", 3, _like, deterministic=True)
    connection.create_function("glob", 2, _glob, deterministic=True)


def _like(pattern: Any, text: Any, escape: str | None = "") -> bool | None:
    if pattern is None or text is None or escape is None:
        return None
    return pattern_of(_text(pattern), escape).match(_text(text)) is not None


def _glob(pattern: Any, text: Any) -> bool | None:
    if pattern is None or text is None:
        return None
    return _glob_pattern(_text(pattern)).match(_text(text)) is not None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=256)
def pattern_of(pattern: str, escape: str) -> re.Pattern[str]:
    pieces, characters = [""], iter(pattern)
    for character in characters:
        if character == escape and escape:
            meant = next(characters, "")
            pieces[-1] += re.escape(meant) if meant else _NEVER
        elif character == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if character == "_" else re.escape(character)
    return re.compile(_laid_out(pieces), re.IGNORECASE | re.ASCII | re.DOTALL)


@lru_cache(maxsize=256)
def _glob_pattern(pattern: str) -> re.Pattern[str]:
    pieces, place = [""], 0
    while place < len(pattern):
        character = pattern[place]
        place += 1
        if character == "*":
            pieces.append("")
        elif character == "[":
            part, place = _set_at(pattern, place)
            pieces[-1] += part
        else:
            pieces[-1] += "." if character == "?" else re.escape(character)
    return re.compile(_laid_out(pieces), re.DOTALL)


def _set_at(pattern: str, place: int) -> tuple[str, int]:
    """What follows a `[`, as a regular expression, and where it ends. A `]` in the first place is a member."""
    negated = pattern[place : place + 1] == "^"
    start = place + negated
    end = pattern.find("]", start + 1 if pattern[start : start + 1] == "]" else start)
    if end < 0:
        return _NEVER, len(pattern)
    members, prior, place = "", "", start
    while place < end:
        character = pattern[place]
        if character == "-" and prior and place + 1 < end:
            place += 1
            if prior <= pattern[place]:
                members += f"{re.escape(prior)}-{re.escape(pattern[place])}"
            prior = ""
        else:
            members += re.escape(character)
            prior = character
        place += 1
    if not members:
        return "." if negated else _NEVER, end + 1
    return f"[{'^' * negated}{members}]", end + 1


def _laid_out(pieces: list[str]) -> str:
    first, *others = pieces
    if not others:
        return rf"\A{first}\Z"
    *middle, last = others
    return rf"\A{first}" + "".join(f"(?>.*?{piece})" for piece in middle if piece) + rf".*{last}\Z"
