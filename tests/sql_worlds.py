"""The databases that the text-to-SQL tests draw from: two of their own, and the bundled ones."""

import sqlite3
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from generators.text_to_sql.load import bundled, read_yaml
from generators.text_to_sql.schema import Database, Value

DATA = Path(__file__).parent / "data"


@cache
def own_worlds() -> dict[str, Database]:
    return {name: read_yaml(DATA / f"sql_{name}.yaml") for name in ("clinic", "freight")}


def all_worlds() -> dict[str, Database]:
    return own_worlds() | bundled()


def connect(database: Database, reverse: bool = False) -> sqlite3.Connection:
    """The database in SQLite; `reverse` stores each table's rows from the last to the first."""
    connection = sqlite3.connect(":memory:")
    for table in database.tables:
        columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
        connection.execute(f'CREATE TABLE "{table.name}" ({columns})')
        rows = table.rows[::-1] if reverse else table.rows
        marks = ", ".join("?" * len(table.columns))
        connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
    return connection


def comparable(rows: Iterable[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Rows with floats rounded, so that sums in another order compare equal."""
    return [tuple(round(value, 6) if isinstance(value, float) else value for value in row) for row in rows]
