"""Tables whose rows stand in a context as records, and what can be said of their columns.

    Column("country", "category", "country", says={"eq": "from {value}"})
    clause          "[people] from Poland", "[people] whose salary is above 3200"

A column is a key (a name of its own for each row), a category, a number or a date. A clause follows a noun, be it
singular or plural, so that each can be used in every question.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

Kind = Literal["key", "category", "number", "date"]
Cell = str | int | float | date | None
Row = dict[str, Cell]

_SAYS: dict[Kind, dict[str, str]] = {
    "key": {},
    "category": {
        "eq": "[whose {label} is {value}|with {value} as {label}]",
        "ne": "[whose {label} is not {value}|whose {label} is other than {value}]",
        "in": "whose {label} is [either |]{value} or {other}",
    },
    "number": {
        "above": "whose {label} [is above|is more than|exceeds] {value}",
        "below": "whose {label} is [below|less than|under] {value}",
        "between": "whose {label} [lies between {value} and {other}|is from {value} to {other}] (inclusive)",
    },
    "date": {
        "before": "whose {label} is before {value}",
        "after": "whose {label} is after {value}",
        "between": "whose {label} lies between {value} and {other} (both days included)",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """`label` is how people call it; `says` replaces the clauses of its kind where it names one. A link holds the key
    of a row: of this table (`own`) or of the second one (`second`). Columns of one `kin` tell of one another, as a city
    does of its country: no question asks for one of them under a condition on the other."""

    name: str
    kind: Kind
    label: str
    says: dict[str, str] = field(default_factory=dict)
    link: Literal["", "own", "second"] = ""
    kin: str = ""

    def clause(self, how: str) -> str:
        return self.says.get(how) or _SAYS[self.kind][how]


@dataclass(frozen=True)
class Table:
    """`noun` and `nouns` are what a row and several of them are called; columns[0] is the key."""

    noun: str
    nouns: str
    columns: list[Column]
    rows: list[Row]

    @property
    def key(self) -> str:
        return self.columns[0].name


@dataclass(frozen=True)
class World:
    """What one context is about: a table, and the second one that its links may lead to."""

    table: Table
    second: Table | None = None


def written(value: Cell) -> str:
    """A value as records and questions show it."""
    if value is None:
        return "none"
    return f"{value.day} {value:%B} {value.year}" if isinstance(value, date) else str(value)


def number_in(row: Row, column: Column) -> float:
    """A cell of a column of numbers that isn't empty."""
    value = row[column.name]
    if not isinstance(value, int | float):
        raise TypeError(f"{column.name} holds {value!r}, no number")
    return value


def day_in(row: Row, column: Column) -> date:
    """A cell of a column of dates that isn't empty."""
    value = row[column.name]
    if not isinstance(value, date):
        raise TypeError(f"{column.name} holds {value!r}, no date")
    return value


def literal(value: Cell) -> str:
    """A value in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'
