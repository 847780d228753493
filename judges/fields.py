"""What judges read of a record, by name.

question              the last user message before the answer
answer                the last assistant message
trace                 that message's native reasoning
conversation          all turns as text, without traces
tools                 the tools' definitions as JSON
metadata.sql.query    a value in the metadata; any other name is a column of the record, such as `category`
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

from gristmill import Record
from schemas import Message, canonical_json

_SHORT = {"question", "answer", "trace", "conversation", "tools"}
_COLUMNS = {name for name in Record.model_fields if name not in ("messages", "tools", "verdicts", "provenance")}


_TURN = re.compile(r"^(?=\[(?:system|user|assistant|tool)\][ \t]*$)", re.MULTILINE)


def _known(path: str) -> str:
    column, _, rest = path.partition(".")
    if path in _SHORT or (column in _COLUMNS and bool(rest) == (column == "metadata")):
        return path
    raise ValueError(f"expected {', '.join(sorted(_SHORT))}, metadata.KEY or a column of the record")


FieldPath = Annotated[str, AfterValidator(_known)]
"""A name of the module's docstring, in a judge's parameters."""


def lookup(record: Record, path: str) -> Any:
    """The value under a name of the module's docstring; None where the record has none."""
    if path == "question":
        return question(record)
    if path == "answer":
        return answer(record)
    if path == "trace":
        turn = last_turn(record)
        return turn.reasoning_content if turn else None
    if path == "conversation":
        return read_out(record.messages)
    if path == "tools":
        return (
            canonical_json([tool.model_dump(mode="json") for tool in record.tools]).decode() if record.tools else None
        )
    column, *rest = path.split(".")
    value: Any = getattr(record, column, None)
    for key in rest:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def last_turn(record: Record) -> Message | None:
    """The last assistant message."""
    return next((message for message in reversed(record.messages) if message.role == "assistant"), None)


def answer(record: Record) -> str | None:
    turn = last_turn(record)
    return turn.content if turn else None


def question(record: Record) -> str | None:
    """The last user message before the last assistant message."""
    return next((message.content for message in reversed(before_answer(record)) if message.role == "user"), None)


def before_answer(record: Record) -> list[Message]:
    """The messages before the last assistant message: what it answers."""
    last = max((n for n, message in enumerate(record.messages) if message.role == "assistant"), default=0)
    return record.messages[:last]


def read_out(messages: list[Message]) -> str:
    """Messages as text, without traces: what a reader of the record would judge. No content makes a turn."""
    turns = []
    for message in messages:
        calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls]
        said = _TURN.sub(r"\\", "\n".join([message.content, *calls]).strip())
        turns.append(f"[{message.role}]\n{said}")
    return "\n\n".join(turns)
