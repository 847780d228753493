"""Personal data in a row: e-mail addresses, phone numbers, card numbers, keys.

    "Write to ana@firm.com or (212) 664-7665"   ->   "Write to [EMAIL] or [PHONE]"

What is reserved for examples is nobody's and stays: example.com and its like, the numbers 555-0100 to 555-0199. A card
number has an issuer's prefix and length and a right check digit. In JSON (arguments of calls, metadata) values are
looked at one by one, and a number that is masked becomes a string, so it stays JSON.

Source: RFC 2606 (domains); ISO/IEC 7812 (card numbers, Luhn's check digit); keys as their issuers document them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from blends.store import LOST
from schemas.blend_config import PIIKind

_RESERVED = re.compile(r"(?:^|[.@])(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
_ISSUER = re.compile(r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35\d{14}")


def _is_address(text: str) -> bool:
    return not _RESERVED.search(text)


def _is_phone(text: str) -> bool:
    return not re.sub(r"\D", "", text)[-7:].startswith("55501")


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    check = sum(map(int, digits[::-2])) + sum(value - 9 if value > 9 else value for value in doubled)
    return _ISSUER.fullmatch(digits) is not None and check % 10 == 0


def _always(text: str) -> bool:
    return True


class _Pattern(NamedTuple):
    """`hint` is in every text that holds one: most texts are not searched at all."""

    hint: re.Pattern[str]
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]


_PATTERNS: dict[PIIKind, _Pattern] = {
    "key": _Pattern(
        re.compile(r"sk-|AKIA|ASIA|gh[pousr]_|github_pat_|hf_|xox|AIza|eyJ|PRIVATE KEY"),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
            r"|(?<![\w-])(?:sk-[\w-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{36,}|github_pat_\w{22,}"
            r"|hf_[A-Za-z]{30,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})",
            re.DOTALL,
        ),
        _always,
    ),
    "email": _Pattern(re.compile("@"), re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?![\w-])"), _is_address),
    "card": _Pattern(
        re.compile(r"\d[ -]?\d{2}[ -]?\d{2}"), re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)"), _is_card
    ),
    "phone": _Pattern(
        re.compile(r"\d{3}"),
        re.compile(
            r"(?<![\w)+])\+\d{1,3}(?:[ .()-]{0,2}\d){7,12}(?!\d)"
            r"|(?<![\w.-])\(\d{3}\) ?\d{3}[-. ]\d{4}(?![\w-]|\.\d)"
            r"|(?<![\w.-])(?:1[-.])?\d{3}([-.])\d{3}\1\d{4}(?![\w-]|\.\d)"
        ),
        _is_phone,
    ),
}


def found_in(text: str, kinds: Iterable[PIIKind]) -> Iterator[PIIKind]:
    """The kind of each piece of personal data in the text."""
    for kind in _in_order(kinds):
        hint, pattern, holds = _PATTERNS[kind]
        if hint.search(text):
            yield from (kind for found in pattern.finditer(text) if holds(found[0]))


def masked(text: str, kinds: Iterable[PIIKind]) -> str:
    """The text with [KIND] in each such place."""
    for kind in _in_order(kinds):
        hint, pattern, holds = _PATTERNS[kind]
        if hint.search(text):
            text = pattern.sub(partial(_mask, f"[{kind.upper()}]", holds), text)
    return text


def _mask(mask: str, holds: Callable[[str], bool], found: re.Match[str]) -> str:
    return mask if holds(found[0]) else found[0]


def _in_order(kinds: Iterable[PIIKind]) -> Iterator[PIIKind]:
    """A card number might be read as a phone number, so cards come first."""
    return (kind for kind in _PATTERNS if kind in kinds)


def rows_with_pii(kinds: list[PIIKind], rows: pa.Table) -> pa.Table:
    """The rows of a table with the columns `row`, `messages`, `metadata` that hold some, with how many of each kind."""
    found = []
    for row in rows.to_pylist():
        counts = Counter(kind for text in _texts(row) for kind in found_in(text, kinds))
        if counts:
            detail = ", ".join(f"{kind} {number}" for kind, number in sorted(counts.items()))
            found.append({"row": row["row"], "reason": "pii", "detail": detail})
    return pa.Table.from_pylist(found, schema=LOST)


def _texts(row: dict[str, Any]) -> Iterator[str]:
    for message in row["messages"]:
        yield message["content"] or ""
        yield message["reasoning_content"] or ""
        yield from (call["function"]["arguments"] for call in message["tool_calls"] or ())
    yield row["metadata"]


def mask_row(row: dict[str, Any], kinds: list[PIIKind]) -> dict[str, Any]:
    """The row with what it says, calls and knows masked."""
    messages = [
        {
            **message,
            "content": masked(message["content"] or "", kinds),
            "reasoning_content": message["reasoning_content"] and masked(message["reasoning_content"], kinds),
            "tool_calls": [_mask_call(call, kinds) for call in message["tool_calls"] or ()],
        }
        for message in row["messages"]
    ]
    return {**row, "messages": messages, "metadata": _mask_json(row["metadata"], kinds)}


def _mask_call(call: dict[str, Any], kinds: list[PIIKind]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": _mask_json(call["function"]["arguments"], kinds)}}


def _mask_json(text: str, kinds: list[PIIKind]) -> str:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:  # a model's call that is no JSON is text
        return masked(text, kinds)
    changed = _mask_value(value, kinds)
    return text if changed == value else orjson.dumps(changed).decode()


def _mask_value(value: Any, kinds: list[PIIKind]) -> Any:
    match value:
        case str():
            return masked(value, kinds)
        case int() if not isinstance(value, bool) and masked(str(value), kinds) != str(value):
            return masked(str(value), kinds)
        case list():
            return [_mask_value(item, kinds) for item in value]
        case dict():
            return {key: _mask_value(item, kinds) for key, item in value.items()}
    return value
