"""The formats that questions ask their answers in, and answers in them.

    question    "How many of the notes report a leak? Answer with a JSON object that has the one key `answer`."
    answer      {"answer": 12}

An answer is a number, a text, a list or a table of names and values; each format has instructions in many wordings
(wording.yaml) and a writer. The instruction is part of the question, so what was asked for can be checked by code.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random

from generators.long_context.wording import vary, wordings
from schemas import Json

Scalar = int | float | str
Value = Scalar | Sequence[Scalar] | Mapping[str, Scalar]


def as_json(value: Value) -> Json:
    """The value as metadata hold it."""
    if isinstance(value, Mapping):
        return {**value}
    return value if isinstance(value, Scalar) else [*value]


def plain(value: Value) -> str:
    """A value as people write it in a line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {inner}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)


def _items(value: Value) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}: {inner}" for key, inner in value.items()]
    return [str(value)] if isinstance(value, int | float | str) else [str(one) for one in value]


def _bullets(value: Value) -> str:
    return "\n".join(f"- {item}" for item in _items(value))


def _json(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _table(value: Value) -> str:
    assert isinstance(value, Mapping)
    return "| name | value |\n|---|---|\n" + "\n".join(f"| {name} | {inner} |" for name, inner in value.items())


_ONE: dict[str, Callable[[Value], str]] = {
    "bare": plain,
    "line": lambda value: f"Answer: {plain(value)}",
    "json": lambda value: json.dumps({"answer": value}, ensure_ascii=False),
    "boxed": lambda value: f"\\boxed{{{plain(value)}}}",
    "tagged": lambda value: f"<answer>{plain(value)}</answer>",
    "bold": lambda value: f"**{plain(value)}**",
}  # fmt: skip
_SEVERAL: dict[str, Callable[[Value], str]] = {
    "bullets": _bullets,
    "separated": lambda value: "; ".join(_items(value)),
    "json array": _json,
}
_NAMED: dict[str, Callable[[Value], str]] = {"json object": _json, "table": _table, "bullets": _bullets}


def draw_format(value: Value, rng: Random) -> tuple[str, str]:
    """The name of a format that suits the value, and an instruction."""
    name = rng.choice(list(_suiting(value)))
    return name, vary(rng.choice(wordings()["formats"][name]), rng).format()


def write_answer(value: Value, name: str) -> str:
    """The answer in the format."""
    return _suiting(value)[name](value)


def _suiting(value: Value) -> dict[str, Callable[[Value], str]]:
    if isinstance(value, Mapping):
        return _NAMED
    return _ONE if isinstance(value, int | float | str) else _SEVERAL
