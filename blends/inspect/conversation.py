"""A row as people read it: turns with folded traces, calls and results in colour, and what the loss sees.

Everything that comes from a row is escaped where it is marked up: only pygments' and our own tags are tags.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from gristmill.render import RenderError
from gristmill.render.nemotron3 import Nemotron3
from gristmill.render.pieces import Conversation
from schemas import Record
from schemas.arrow import foreign_row_to_record

LONGEST_HIGHLIGHTED = 20_000  # characters; pygments takes a second for a megabyte
_FENCE = re.compile(r"^(```+)([\w+-]*)[^\n]*\n(.*?)^\1[ \t]*$", re.DOTALL | re.MULTILINE)
_FORMATTER = HtmlFormatter(cssclass="code")


class Call(NamedTuple):
    name: str
    id: str
    arguments: Markup


class Turn(NamedTuple):
    role: str
    name: str
    trace: str
    content: Markup
    calls: list[Call]


class Span(NamedTuple):
    """A stretch of a training sequence; `kind` is supervised, control or read."""

    text: str
    kind: str


def stylesheet() -> str:
    """For highlighted code, on light and on dark paper."""
    light = HtmlFormatter(style="default").get_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".code")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.code {{ background: none !important; }}\n"


def record_of(row: Mapping[str, Any]) -> Record | None:
    """The record in a row of records, of samples, of rejects or of a stranger; None where there is none to be seen."""
    known: dict[str, Any] = dict(row)
    payload = known.pop("payload", None)
    if isinstance(payload, str):
        known = {**json.loads(payload), "task_id": row.get("task_id")}
    try:
        return foreign_row_to_record({name: value for name, value in known.items() if value is not None})
    except (ValueError, TypeError, KeyError):
        return None


def turns(record: Record) -> list[Turn]:
    return [
        Turn(
            message.role,
            message.name or message.tool_call_id or "",
            message.reasoning_content or "",
            formatted(message.content, is_data=message.role == "tool"),
            [Call(call.function.name, call.id, as_json(call.function.arguments)) for call in message.tool_calls],
        )
        for message in record.messages
    ]


def formatted(text: str, *, is_data: bool = False) -> Markup:
    """Text with its fenced code in colour; as JSON where it is data and JSON."""
    if is_data and text.lstrip()[:1] in ("{", "["):
        return as_json(text)
    return Markup("").join(_parts(text))


def _parts(text: str) -> Iterator[Markup]:
    end = 0
    for fence in _FENCE.finditer(text):
        yield _plain(text[end : fence.start()])
        yield coloured(fence[3], fence[2] or "text")
        end = fence.end()
    yield _plain(text[end:])


def _plain(text: str) -> Markup:
    return Markup('<div class="plain">{}</div>').format(text.strip("\n")) if text.strip() else Markup("")


def as_json(text: str) -> Markup:
    """Indented where it is JSON, else as it is."""
    try:
        text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return _plain(text)
    return coloured(text, "json")


def coloured(code: str, language: str) -> Markup:
    """Code in colour where pygments knows the language and it isn't too long. Pygments escapes what it marks up."""
    if len(code) > LONGEST_HIGHLIGHTED:
        return Markup('<pre class="code">{}</pre>').format(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return Markup('<pre class="code">{}</pre>').format(code)
    return Markup(highlight(code, lexer, _FORMATTER))


def trained(record: Record) -> list[list[Span]] | str:
    """The training sequences as Nemotron 3's template renders them, or why it can't."""
    try:
        sequences = Nemotron3().sequences(Conversation.of(record), "truncate")
    except RenderError as error:
        return str(error)
    return [
        [
            Span(piece.text, "supervised" if piece.supervised else "control" if piece.control else "read")
            for block in sequence
            for piece in block
        ]
        for sequence in sequences
    ]


def details(row: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The other columns of a row, those with JSON indented."""
    found = []
    for name, value in row.items():
        if name in ("messages", "verdicts", "payload") or value in (None, "", [], "[]", "{}"):
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        is_json = text[:1] in "{[" and len(text) < LONGEST_HIGHLIGHTED
        found.append((name, as_json(text) if is_json else Markup("{}").format(text)))
    return found
