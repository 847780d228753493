"""What a record of SQL claims, and what its proof adds: `metadata.sql` of a record.

    {"dialect": "postgres", "context": "CREATE TABLE loan (...);\\nINSERT INTO loan VALUES ...;",
     "distractor_tables": ["card"], "distractor_columns": ["loan.status"], "query": "SELECT city, SUM(amount) ...",
     "columns": ["city", "total"], "ordered": true, "row_count": 5, "result": [["Ghent", 61200.5], ...],
     "hash": "9f31...", "engine": "PostgreSQL 15.18"}

The first five make a claim that `judges.sql_execution` can prove, whoever wrote them; the others are its proof.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Literal
from uuid import UUID

from schemas import Data, Json, content_hash

Dialect = Literal["sqlite", "postgres", "mysql"]
Row = tuple[Any, ...]

SAMPLE_ROWS = 10
"""How many rows of the result a record keeps; the hash covers all of them."""


class SQLWorld(Data):
    """A database for one question. `context` holds its statements, CREATE before INSERT, each ended by a semicolon.

    The distractors are a claim that the proof checks; columns are written `table.column`. `writes` says that the task
    asks for a change of the database (DML or DDL); the proof is then about the tables after the statement.
    """

    dialect: Dialect = "sqlite"
    context: str
    distractor_tables: list[str] = []
    distractor_columns: list[str] = []
    writes: bool = False


class SQLProof(SQLWorld):
    """A world, a query and what the query returns there. `ordered`: its rows can come in one order only."""

    query: str
    columns: list[str]
    ordered: bool
    row_count: int
    result: list[list[Json]]
    hash: str
    engine: str


class Refuted(Exception):
    """A statement or a claim that doesn't hold. `reason` is a short word that is counted, `detail` what happened."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


# --- statements ------------------------------------------------------------------------------------------------------

# All repetitions are possessive (`*+`): nothing that was read is read another way, so time grows with length alone.
_STRING = r"'(?:[^']|'')*+'"
_ESCAPED_STRING = r"'(?:[^'\\]|''|\\.)*+'"
_QUOTED_NAME = r'"(?:[^"]|"")*+"'
_BLOCK_COMMENT = r"(?>/\*.*?\*/)"
_NESTED_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*)|(?>/\*.*?\*/))*+\*/"  # PostgreSQL nests them; two levels are enough
_LINE_COMMENT = r"--[^\n]*+"

_COMMENTS: dict[Dialect, str] = {
    "sqlite": f"{_LINE_COMMENT}|{_BLOCK_COMMENT}",
    "postgres": f"{_LINE_COMMENT}|{_NESTED_COMMENT}",
    "mysql": rf"--(?=\s|$)[^\n]*+|#[^\n]*+|{_BLOCK_COMMENT}",
}
_LITERALS: dict[Dialect, str] = {
    "sqlite": rf"{_STRING}|{_QUOTED_NAME}|`[^`]*+`|\[[^\]]*+\]",
    "postgres": rf"\b[eE]{_ESCAPED_STRING}|{_STRING}|{_QUOTED_NAME}|(?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$",
    "mysql": rf'{_ESCAPED_STRING}|"(?:[^"\\]|""|\\.)*+"|`[^`]*+`',
}
_ENDS: dict[Dialect, re.Pattern[str]] = {
    dialect: re.compile(rf"{_COMMENTS[dialect]}|{_LITERALS[dialect]}|(?P<end>;)", re.DOTALL) for dialect in _COMMENTS
}
_WORD = re.compile(r"\w*")
_NOTHING: dict[Dialect, re.Pattern[str]] = {
    dialect: re.compile(rf"(?:\s++|{comment})*+", re.DOTALL) for dialect, comment in _COMMENTS.items()
}


@lru_cache(maxsize=64)
def statements(context: str, dialect: Dialect) -> tuple[str, ...]:
    """The statements without their semicolons and what comments stand before them.

    A semicolon in a string, a name, a comment or a dollar quote ends nothing.
    """
    pieces: list[str] = []
    start = 0
    for match in _ENDS[dialect].finditer(context):
        if match["end"]:
            pieces.append(context[start : match.start()])
            start = match.end()
    pieces.append(context[start:])
    bare = (piece[_said_from(piece, dialect) :].rstrip() for piece in pieces)
    return tuple(piece for piece in bare if piece)


def _said_from(text: str, dialect: Dialect) -> int:
    nothing = _NOTHING[dialect].match(text)
    return nothing.end() if nothing else 0


def first_word(statement: str, dialect: Dialect) -> str:
    """In lower case; "" where a statement begins with a bracket or says nothing."""
    word = _WORD.match(statement, _said_from(statement, dialect))
    return word[0].lower() if word else ""


def comments(text: str, dialect: Dialect) -> list[str]:
    found = (match[0] for match in _ENDS[dialect].finditer(text))
    return [piece for piece in found if piece.startswith(("--", "/*", "#"))]


def joined(parts: Sequence[str]) -> str:
    """Statements as one context."""
    return "\n".join(part if part.rstrip().endswith(";") else f"{part};" for part in parts)


def brief(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 100 else f"{line[:100]}..."


# --- results ---------------------------------------------------------------------------------------------------------


def result_hash(rows: Sequence[Row], ordered: bool) -> str:
    """Equal for equal results: floats to twelve digits, 2.0 as 2, and sorted unless the order counts."""
    plain = comparable(rows)
    return content_hash(plain if ordered else sorted(plain, key=repr))


def comparable(rows: Sequence[Sequence[Any]]) -> list[Row]:
    """Rows whose equality doesn't depend on the order in which numbers were added up."""
    return [tuple(_plain(as_json(value)) for value in row) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list | dict):
        return repr(value)  # rows are counted, so their values must be hashable
    return value


def as_json(value: Any) -> Json:
    """A value of any of the engines, as a record keeps it: dates as ISO text, decimals as numbers, bytes as hex.

    Floats have twelve digits, as their last ones depend on the order in which they were added up.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(f"{value:.12g}") if isfinite(value) else str(value)
        case Decimal():
            whole = value.is_finite() and abs(value) < 2**53 and value == value.to_integral_value()
            return int(value) if whole else as_json(float(value))
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case datetime():
            return value.isoformat(" ")
        case date() | time():
            return value.isoformat()
        case timedelta() | UUID():
            return str(value)
        case list() | tuple():
            return [as_json(item) for item in value]
        case dict():
            return {str(key): as_json(item) for key, item in value.items()}
    return str(value)
