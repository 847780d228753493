"""The state that tools read and change: a SQLite database in memory, copied for each roll-out, compared at its end.

    parcels[GP-1042].status: "in_transit" -> "held"
    claims[C-1042]: absent -> {"amount": 40.0, "kind": "damaged", "parcel_id": "GP-1042"}

A row is known by its primary key, so it makes no difference in which order rows came. Two declared types say how a
column is compared: of FREE TEXT only whether there is any, because everybody words it differently; of JSON the value.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import orjson

Row = tuple[Any, ...]


class Table(NamedTuple):
    """`types` are the declared types of the columns, `keys` the places of the primary key in a row."""

    name: str
    sql: str
    types: dict[str, str]
    keys: list[int]
    rows: list[Row]

    def placed(self, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
        """Rows by where they are: ("parcels[GP-1042]", ...). Without a primary key by their number, sorted."""
        if not self.keys:
            yield from ((f"{self.name}[#{number}]", row) for number, row in enumerate(sorted(rows, key=repr), start=1))
        for row in rows if self.keys else ():
            yield f"{self.name}[{', '.join(str(row[place]) for place in self.keys)}]", row

    def values(self, row: Row) -> dict[str, Any]:
        """A row as it is compared."""
        pairs = zip(self.types.items(), row, strict=True)
        return {name: _comparable(value, kind) for (name, kind), value in pairs}


class Content(NamedTuple):
    """What a database holds."""

    tables: dict[str, Table]

    def rows(self) -> dict[str, dict[str, Any]]:
        """{"parcels[GP-1042]": {"status": "held", ...}}, as they are compared."""
        tables = self.tables.values()
        return {place: table.values(row) for table in tables for place, row in table.placed(table.rows)}


ABSENT = object()
"""In the place of what isn't there."""
MOST_STEPS = 5_000_000
"""Instructions of SQLite's machine for one statement, about a tenth of a second: a limit that is no matter of load."""
MOST_PAGES = 16_384
"""64 MiB of database."""
LONGEST = 1_000_000
"""Bytes of one value."""


def make_image(script: str) -> bytes:
    """The database that a script of CREATE TABLE and INSERT makes; sqlite3.Error where it can't."""
    with closing(sqlite3.connect(":memory:")) as db:
        _limit(db)
        guard(db, LOADING)
        refuse_clock(script)
        db.executescript(script)
        guard(db, None)
        if broken := db.execute("PRAGMA foreign_key_check").fetchone():
            raise sqlite3.IntegrityError(f"row {broken[1]} of {broken[0]} points to no row of {broken[2]}")
        return db.serialize()


def open_state(image: bytes) -> sqlite3.Connection:
    """A copy of the database to work on, with limits on time and size. Rows can be read by column."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.deserialize(image)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    _limit(db)
    return db


def _limit(db: sqlite3.Connection) -> None:
    """A statement without end is interrupted, a database without end is full."""
    db.set_progress_handler(lambda: True, MOST_STEPS)
    db.execute(f"PRAGMA max_page_count = {MOST_PAGES}")


# --- what statements may do ------------------------------------------------------------------------------------------

READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
WRITING = READING | {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
LOADING = WRITING | {
    sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_REINDEX,
}  # fmt: skip
_CHANCE = {"random", "randomblob", "load_extension", "last_insert_rowid", "changes", "total_changes"}
_CLOCK = re.compile(
    r"\bcurrent_(?:date|time|timestamp)\b|\b(?:date|time|datetime|julianday|unixepoch|strftime)\(([^()]*'now'|\s*\))",
    re.I,
)


def guard(db: sqlite3.Connection, allowed: frozenset[int] | None) -> None:
    """From here on statements may only do what is allowed, and nothing that gives another result each time."""
    if allowed is None:
        db.set_authorizer(None)
        return

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        own = (first or "").startswith("sqlite_") and allowed is not LOADING
        chance = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _CHANCE
        return sqlite3.SQLITE_DENY if action not in allowed or own or chance else sqlite3.SQLITE_OK

    db.set_authorizer(authorize)


def require_kind(statement: str, allowed: frozenset[int]) -> None:
    """sqlite3.Error for a statement that doesn't begin as one that reads or changes rows: VACUUM, for one, writes files
    and is let pass when it is compiled."""
    words = ("SELECT", "WITH", "VALUES") if allowed is READING else ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")
    if not statement.lstrip().upper().startswith(words):
        raise sqlite3.OperationalError(f"not one of {', '.join(words)}")


def refuse_clock(statement: str) -> None:
    """sqlite3.Error for a statement that asks what time it is: a state has a clock of its own, in a table."""
    if found := _CLOCK.search(statement):
        raise sqlite3.OperationalError(f"{found[0]} gives another result each time")


# --- comparing -------------------------------------------------------------------------------------------------------


def read_content(db: sqlite3.Connection, known: Content | None = None) -> Content:
    """All that a database holds. What its tables are like needn't be asked where it is `known`."""
    cursor = db.cursor()
    cursor.row_factory = None
    wanted = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
    tables = {}
    for name, sql in cursor.execute(wanted).fetchall():
        table = known.tables.get(name) if known else None
        if table is None or table.sql != sql:
            columns = cursor.execute(f"PRAGMA table_info({quoted(name)})").fetchall()
            keys = [place for place, column in enumerate(columns) if column[5]]
            table = Table(name, sql, {column[1]: column[2].upper() for column in columns}, keys, [])
        tables[name] = table._replace(rows=cursor.execute(f"SELECT * FROM {quoted(name)}").fetchall())
    return Content(tables)


def _comparable(value: Any, kind: str) -> Any:
    if kind == "FREE TEXT":
        return "(text)" if value else None
    if kind == "JSON" and isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return round(value, 6) if isinstance(value, float) else value


def changes(before: Content, after: Content) -> list[str]:
    """What differs, one line for each place: "place: old -> new"."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in {**before.tables, **after.tables}:
        old, new = before.tables.get(name), after.tables.get(name)
        if old is None or new is None or old.rows != new.rows:
            had, has = _placed(old, new), _placed(new, old)
            pairs.update((place, (had.get(place, ABSENT), has.get(place, ABSENT))) for place in {**had, **has})
    found = (difference for place in sorted(pairs) for difference in _walk(place, *pairs[place]))
    return [f"{place}: {_shown(old)} -> {_shown(new)}" for place, old, new in found]


def _placed(table: Table | None, other: Table | None) -> dict[str, dict[str, Any]]:
    """The rows of a table that another state of it lacks; all, where they are known by their number."""
    if table is None:
        return {}
    same = set(other.rows) if other and table.keys else ()
    return {place: table.values(row) for place, row in table.placed([row for row in table.rows if row not in same])}


def _walk(place: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _walk(f"{place}.{key}", old.get(key, ABSENT), new.get(key, ABSENT))
    elif old is ABSENT or new is ABSENT or old != new:
        yield place, old, new


def _shown(value: Any) -> str:
    return "absent" if value is ABSENT else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
