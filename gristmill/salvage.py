"""What a damaged ledger still holds is copied into a new one; the rest is asked again.

A file is damaged by a full or failing disk, or by a copy that broke off. SQLite reads it up to the bad page; rows after
it are reached by their numbers, skipping ahead in growing steps.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from gristmill.ledger import open_database

_SIDE_FILES = ("-wal", "-shm")
_TABLES = {"calls": 16, "outcomes": 7, "meta": 2}


def mend_ledger(path: Path) -> str:
    """A sentence on what was saved where the ledger at `path` was damaged (it is a sound one then); "" where it wasn't.

    The damaged file is kept beside it.
    """
    if not path.is_file() or path.stat().st_size == 0 or _is_sound(path):
        return ""
    damaged = _move_aside(path)
    saved = dict.fromkeys(_TABLES, 0)
    with closing(open_database(path)) as new:
        for table, width in _TABLES.items():
            places = ", ".join("?" * width)
            new.execute("BEGIN")
            for row in _readable_rows(damaged, table):
                new.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", row)
                saved[table] += 1
            new.execute("COMMIT")
    return (
        f"{path} is damaged: {saved['calls']:,} calls and {saved['outcomes']:,} outcomes could be read, the rest is "
        f"asked again (the damaged file is kept as {damaged.name})."
    )


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
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


def _readable_rows(path: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a table that can be read, in order."""
    try:
        db = sqlite3.connect(path)
    except sqlite3.DatabaseError:
        return
    with closing(db):
        last, step = 0, 1
        while step < 2**40:
            try:
                for row in db.execute(f"SELECT rowid, * FROM {table} WHERE rowid >= ? ORDER BY rowid", (last + step,)):
                    last, step = row[0], 1
                    yield tuple(row[1:])
                return
            except sqlite3.DatabaseError:
                step *= 2
