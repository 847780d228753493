"""A database in memory that runs statements from outside: one at a time, within limits, and only what it is told to.

    with SQLite(ddl, inserts, Limits()) as engine:
        columns, rows = engine.run("SELECT city, COUNT(*) FROM loan GROUP BY city")
        with engine.changed():                     # undone at the end
            engine.drop("card")

Source: SQLite's authorizer (https://sqlite.org/c3ref/set_authorizer.html), which sees every action of a statement
before it runs; the progress handler ends what takes too long.
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Annotated, Any

from pydantic import Field

from schemas import Config

Row = tuple[Any, ...]

MAX_SIZE = 1_000_000
"""Characters or bytes, of one value and of a whole result."""


class Limits(Config):
    """What one statement may use."""

    seconds: Annotated[float, Field(gt=0)] = 1.0
    rows: Annotated[int, Field(gt=0)] = 1000


class Refuted(Exception):
    """A statement or a claim that doesn't hold. `reason` is a short word that is counted, `detail` what happened."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_READ = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_INSERT = _READ | {sqlite3.SQLITE_INSERT}
_DDL = _INSERT | {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_UPDATE,  # of sqlite_master, by CREATE itself
}
_ACTION_NAME = re.compile(r"SQLITE_((CREATE|DROP|ALTER|ATTACH|PRAGMA|INSERT|UPDATE|DELETE|TRANSACTION|SAVEPOINT)\w*)")
_ACTIONS = {value: match[1] for name, value in vars(sqlite3).items() if (match := _ACTION_NAME.fullmatch(name))}
_CHANCE = {"random", "randomblob", "current_date", "current_time", "current_timestamp", "load_extension", "changes"}


class SQLite:
    """The database that `ddl` and `inserts` make. Foreign keys are checked; nothing reaches a file.

    Refuted `ddl` or `rows` where a statement fails.
    """

    def __init__(self, ddl: Sequence[str], inserts: Sequence[str], limits: Limits) -> None:
        self._statements = (("ddl", ddl, _DDL), ("rows", inserts, _INSERT))
        self._limits = limits
        self._refusal = ""

    def __enter__(self) -> "SQLite":
        self._db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
        try:
            self._load()
        except Refuted:
            self._db.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _load(self) -> None:
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_SIZE)
        # On their first use these functions pretend to write, which the authorizer would refuse.
        self._db.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
        self._db.execute("PRAGMA foreign_keys = ON")
        for reason, statements, allowed in self._statements:
            self._db.execute("BEGIN")
            self._db.execute("PRAGMA defer_foreign_keys = ON")  # checked by COMMIT, so rows may come in any order
            for statement in statements:
                try:
                    self._guarded(statement, allowed)
                except Refuted as refuted:
                    raise Refuted(reason, f"{refuted.detail} in: {brief(statement)}") from None
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise Refuted(reason, str(error)) from None
        self._db.execute("PRAGMA foreign_keys = OFF")  # from here on tables are taken away, whoever points to them

    def run(self, query: str) -> tuple[list[str], list[Row]]:
        """Column names and rows of one read-only statement.

        Refuted: sql_error, not_read_only, several_statements, not_a_query, timeout, too_many_rows or too_large.
        """
        columns, rows, _ = self._guarded(query, _READ)
        if not columns:
            raise Refuted("not_a_query", f"this returns no columns: {brief(query)}")
        return columns, rows

    def reads(self, query: str) -> set[tuple[str, str]]:
        """Every (table, column) that the query looks at; (table, "") where it only counts rows."""
        own = self.tables()
        return {(table, column) for table, column in self._guarded(query, _READ)[2] if table in own}

    def tables(self) -> dict[str, list[str]]:
        """The tables with their columns."""
        listed = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        names = [name for (name,) in listed if not name.startswith("sqlite_")]
        return {name: [row[1] for row in self._db.execute(f"PRAGMA table_xinfo({quoted(name)})")] for name in names}

    @contextmanager
    def changed(self) -> Iterator[None]:
        """What is done to the database inside is undone at the end."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def drop(self, table: str) -> None:
        self._change(f"DROP TABLE {quoted(table)}")

    def replace(self, table: str, select: str) -> None:
        """Puts a view in the table's place; `{}` in `select` stands for the table itself."""
        hidden = quoted(f"{table} behind its view")
        self._change(f"ALTER TABLE {quoted(table)} RENAME TO {hidden}")
        self._change(f"CREATE VIEW {quoted(table)} AS {select.format(hidden)}")

    def _change(self, statement: str) -> None:
        try:
            self._db.execute(statement)
        except sqlite3.Error as error:
            raise Refuted("ddl", f"the tables can't be taken apart: {error}") from None

    def _guarded(self, statement: str, allowed: frozenset[int]) -> tuple[list[str], list[Row], set[tuple[str, str]]]:
        """Runs one statement under the authorizer and the limits: columns, rows, and what was read."""
        deadline = time.monotonic() + self._limits.seconds
        read: set[tuple[str, str]] = set()

        def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
            if refusal := _refusal(action, first or "", second or "", allowed):
                self._refusal = refusal
                return sqlite3.SQLITE_DENY
            if action == sqlite3.SQLITE_READ:
                read.add((first or "", second or ""))
            return sqlite3.SQLITE_OK

        self._refusal = ""
        self._db.set_authorizer(authorize)
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
        try:
            cursor = self._db.execute(statement)
            columns = [column[0] for column in cursor.description or ()]
            rows = self._fetched(cursor)
        except sqlite3.Error as error:
            raise self._refuted(error) from None
        finally:
            self._db.set_authorizer(None)
            self._db.set_progress_handler(None, 0)
        return columns, rows, read

    def _fetched(self, cursor: sqlite3.Cursor) -> list[Row]:
        rows: list[Row] = []
        size = 0
        with closing(cursor):
            for row in cursor:
                rows.append(row)
                size += sum(len(value) for value in row if isinstance(value, str | bytes))
                if len(rows) > self._limits.rows:
                    raise Refuted("too_many_rows", f"more than {self._limits.rows} rows")
                if size > MAX_SIZE:
                    raise Refuted("too_large", f"more than {MAX_SIZE} characters")
        return rows

    def _refuted(self, error: sqlite3.Error) -> Refuted:
        if self._refusal:
            return Refuted("not_read_only", self._refusal)
        if "one statement at a time" in str(error):
            return Refuted("several_statements", "expected exactly one statement")
        if "interrupted" in str(error):
            return Refuted("timeout", f"ran longer than {self._limits.seconds:g} s")
        return Refuted("sql_error", str(error))


def _refusal(action: int, first: str, second: str, allowed: frozenset[int]) -> str:
    """Why an action isn't allowed; "" where it is. The meaning of `first` and `second` depends on the action."""
    if action not in allowed:
        return f"{_ACTIONS.get(action, f'action {action}')} is not allowed"
    if action == sqlite3.SQLITE_FUNCTION and second.lower() in _CHANCE:
        return f"{second} gives another value each time"
    if action == sqlite3.SQLITE_UPDATE and first != "sqlite_master":
        return "UPDATE is not allowed"
    if action == sqlite3.SQLITE_READ and allowed is _READ and first.startswith("sqlite_"):
        return f"{first} is the engine's own table"
    return ""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def brief(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 100 else f"{line[:100]}..."
