"""What a damaged ledger still holds is copied into a new one; the rest is asked again.

A file is damaged by a full or failing disk, or by a copy that broke off. SQLite reads it up to the bad page; rows after
it are reached by their numbers: the next one that can be read is found by growing steps, then by halving the last. A
row whose checksum is wrong is left out as well.

Source: https://www.sqlite.org/howtocorrupt.html and, for reading a file that is shorter than its header says,
https://www.sqlite.org/pragma.html#pragma_writable_schema.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gristmill.ledger_file import CALLS_BY_KEY, VERSION, is_intact, open_database

_SIDE_FILES = ("-wal", "-shm")
_TABLES = {"calls": 16, "outcomes": 7, "meta": 2}
_CHECKED = {"calls": "reply", "outcomes": "rows"}
"""Tables whose last column is packed, and its name."""
_LAST_ROWID = 2**40


def mend_ledger(path: Path) -> str:
    """A sentence on what was saved where the ledger at `path` was damaged (it is a sound one then); "" where it wasn't.

    The damaged file is kept beside it.
    """
    if not is_damaged(path):
        return ""
    if path.stat().st_size == 0:
        return f"{path} is empty: every call is asked again."
    damaged = _move_aside(path)
    with closing(open_database(path)) as new:
        new.execute(CALLS_BY_KEY)  # a damaged tree may lead to a row twice
        saved = {table: _copy(damaged, new, table) for table in _TABLES}
    return (
        f"{path} is damaged: {saved['calls']:,} calls and {saved['outcomes']:,} outcomes could be read, the rest is "
        f"asked again (the damaged file is kept as {damaged.name})."
    )


def is_damaged(path: Path) -> bool:
    """Whether there is a ledger, and something of it is lost."""
    return path.is_file() and (path.stat().st_size == 0 or not _is_sound(path))


def _is_sound(path: Path) -> bool:
    """Also where it is of another version, which is refused elsewhere."""
    try:
        with closing(sqlite3.connect(path)) as db:
            if db.execute("PRAGMA user_version").fetchone() not in ((0,), (VERSION,)):
                return True
            return db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",) and all(
                is_intact(packed)
                for table, column in _CHECKED.items()
                for (packed,) in db.execute(f"SELECT {column} FROM {table}")
            )
    except (sqlite3.DatabaseError, TypeError):  # a column may hold anything
        return False


def _move_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged.{number}")).exists():
        number += 1
    for suffix in _SIDE_FILES:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside


def _copy(damaged: Path, new: sqlite3.Connection, table: str) -> int:
    """How many good rows of a table were copied."""
    places = ", ".join("?" * _TABLES[table])
    copied = 0
    new.execute("BEGIN")
    for row in _good_rows(damaged, table):
        with suppress(sqlite3.IntegrityError):  # a column that must not be empty is
            copied += new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row).rowcount
    new.execute("COMMIT")
    return copied


def _good_rows(path: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a table that can be read and have their checksum, in order."""
    with closing(sqlite3.connect(path)) as db:
        with suppress(sqlite3.DatabaseError):
            db.execute("PRAGMA writable_schema = ON")  # else a file that is too short can't be opened at all
        start: int | None = 1
        while start is not None:
            bad = start  # only good rows tell where we are: a damaged page may hold any number
            try:
                for number, *row in db.execute(
                    f"SELECT rowid, * FROM {table} WHERE rowid >= ? ORDER BY rowid", (start,)
                ):
                    if number >= bad and _is_good(table, row):
                        bad = number + 1
                        yield tuple(row)
                return
            except sqlite3.DatabaseError:
                start = _next_readable(db, table, bad)


def _is_good(table: str, row: list[Any]) -> bool:
    return table not in _CHECKED or (isinstance(row[-1], bytes) and is_intact(row[-1]))


def _next_readable(db: sqlite3.Connection, table: str, bad: int) -> int | None:
    """The smallest number above the unreadable `bad` from which rows can be read, None where there are none."""

    def can_read(start: int) -> bool:
        try:
            db.execute(f"SELECT * FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1", (start,)).fetchone()
        except sqlite3.DatabaseError:
            return False
        return True

    step = 1
    while not can_read(bad + step):
        step *= 2
        if step > _LAST_ROWID:
            return None
    low, high = bad + step // 2, bad + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if can_read(middle) else (middle, high)
    return high
