"""The state that tools read and change: a SQLite database in memory, copied for each roll-out, compared at its end.

    parcels[GP-1042].status: "in_transit" -> "held"
    claims[C-1042]: absent -> {"amount": 40.0, "kind": "damaged", "parcel_id": "GP-1042"}

A row is known by its primary key, so it makes no difference in which order rows came. Two declared types say how a
column is compared: of FREE TEXT only whether there is any, because everybody words it differently; of JSON the value.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import orjson


class Content(NamedTuple):
    """What a database holds: {"parcels[GP-1042]": {"status": "held", ...}}, and the declared types of its columns by
    table."""

    rows: dict[str, dict[str, Any]]
    types: dict[str, dict[str, str]]

    def row(self, place: str) -> Any:
        """A row's values as they are compared; ABSENT where there is none."""
        if place not in self.rows:
            return ABSENT
        types = self.types[place.partition("[")[0]]
        return {name: _comparable(value, types[name]) for name, value in self.rows[place].items()}


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


def read_content(db: sqlite3.Connection) -> Content:
    """All that a database holds."""
    content = Content({}, {})
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"):
        columns = db.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
        content.types[table] = {column[1]: column[2].upper() for column in columns}
        keys = [place for place, column in enumerate(columns) if column[5]]
        found = [tuple(row) for row in db.execute(f"SELECT * FROM {quoted(table)}")]
        if not keys:
            found.sort(key=repr)
        for number, row in enumerate(found):
            label = ", ".join(str(row[place]) for place in keys) if keys else f"#{number + 1}"
            content.rows[f"{table}[{label}]"] = dict(zip(content.types[table], row, strict=True))
    return content


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
    places = sorted({*before.rows, *after.rows})
    differing = (place for place in places if before.rows.get(place) != after.rows.get(place))
    found = (difference for place in differing for difference in _walk(place, before.row(place), after.row(place)))
    return [f"{place}: {_shown(old)} -> {_shown(new)}" for place, old, new in found]


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
