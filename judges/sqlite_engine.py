"""A database in memory that runs statements from outside: one at a time, within limits, and only what it is told to.

    with SQLite(context, Limits()) as database:
        columns, rows = database.run("SELECT city, COUNT(*) FROM loan GROUP BY city")
        with database.without({"card"}, {"loan.note"}):        # undone at the end
            database.run(...)

Source: SQLite's authorizer (https://sqlite.org/c3ref/set_authorizer.html), which sees every action of a statement
before it runs; the progress handler ends what takes too long. A changed table is a temporary view over the real one,
which SQLite looks up first; `judges.sql_text` lets no query say `main.`.
"""

import re
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager

from judges.sql_engine import Columns, Database, Limits, columns_of, keeps, rows_within
from judges.sql_text import loading
from judges.sql_world import Refuted, Row, brief
from judges.sqlite_like import install

_LONGEST = 200_000
"""Characters or bytes of one value: no function of SQLite can be interrupted, and some take the square of that."""

_READ = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_LOAD = _READ | {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_UPDATE,  # of sqlite_master, by CREATE itself
}
_WRITE = _LOAD | {
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_VIEW,
}
_CATALOG = """
SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c
WHERE m.type IN ('table', 'view') AND m.name NOT GLOB 'sqlite_*' ORDER BY m.rowid, c.cid
"""
_ACTION_NAME = re.compile(r"SQLITE_((CREATE|DROP|ALTER|ATTACH|PRAGMA|INSERT|UPDATE|DELETE|TRANSACTION|SAVEPOINT)\w*)")
_ACTIONS = {value: match[1] for name, value in vars(sqlite3).items() if (match := _ACTION_NAME.fullmatch(name))}
_CHANCE = {"random", "randomblob", "current_date", "current_time", "current_timestamp", "load_extension", "changes"}
_FRAME = re.compile(r"(begin|commit|end)(\s+transaction)?|pragma\s+foreign_keys\s*=\s*\w+", re.IGNORECASE)
"""What frames a dump and says nothing about its content: the load is one transaction anyway."""


class SQLite(Database):
    """The database that the context makes. Foreign keys are checked; nothing reaches a file.

    Refuted `context` where a statement fails.
    """

    version = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, context: str, limits: Limits) -> None:
        self._context = context
        self._limits = limits
        self._refusal = ""

    def __enter__(self) -> "SQLite":
        self._db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0, check_same_thread=False)
        try:
            self._load()
        except Refuted:
            self._db.close()
            raise
        self._tables = self._listed()
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _load(self) -> None:
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        install(self._db)
        # On their first use these functions pretend to write, which the authorizer would refuse.
        self._db.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("BEGIN")
        self._db.execute("PRAGMA defer_foreign_keys = ON")  # checked by COMMIT, so rows may come in any order
        for statement in loading(self._context, "sqlite", self._limits.frozen_clock):
            if _FRAME.fullmatch(statement):
                continue
            try:
                self._guarded(statement, _LOAD)
            except Refuted as refuted:
                raise Refuted("context", f"{refuted.detail} in: {brief(statement)}") from None
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise Refuted("context", f"{error}: {self._orphans()}") from None
        self._db.execute("PRAGMA foreign_keys = OFF")  # from here on tables are taken away, whoever points to them

    def _orphans(self) -> str:
        rows = self._db.execute("PRAGMA foreign_key_check").fetchmany(3)
        return "; ".join(f"row {row[1]} of {row[0]} points to no row of {row[2]}" for row in rows)

    def run(self, query: str) -> tuple[Columns, list[Row]]:
        columns, rows, _ = self._guarded(query, _READ)
        if not columns:
            raise Refuted("not_a_query", f"this returns no columns: {brief(query)}")
        return columns, rows

    def reads(self, query: str) -> set[tuple[str, str]]:
        """Every (table, column) that the query looks at; (table, "") where it only counts rows."""
        return {(table, column) for table, column in self._guarded(query, _READ)[2] if table in self._tables}

    def tables(self) -> dict[str, list[str]]:
        return self._tables

    def _listed(self) -> dict[str, list[str]]:
        tables: dict[str, list[str]] = {}
        for table, column in self._db.execute(_CATALOG):
            tables.setdefault(table, []).append(column)
        return tables

    @contextmanager
    def without(self, tables: Collection[str], columns: Collection[str]) -> Iterator[None]:
        with self._changed():
            for table, all_columns in self._tables.items():
                kept = columns_of(table, columns, all_columns)
                if table in tables:
                    self._drop(table)
                elif kept != all_columns:
                    self._shadow(table, f"SELECT {', '.join(map(quoted, kept)) or 'NULL'} FROM main.{quoted(table)}")
            yield

    @contextmanager
    def backwards(self, tables: Collection[str]) -> Iterator[None]:
        with self._changed():
            for table in tables:
                order = ", ".join(f"{number} DESC" for number in range(1, len(self._tables[table]) + 1))
                self._shadow(table, f"SELECT * FROM main.{quoted(table)} ORDER BY {order} LIMIT -1")
            yield

    @contextmanager
    def thinned(self, tables: Collection[str], seed: int | None) -> Iterator[None]:
        with self._changed():
            for table in tables:
                numbered = f"SELECT *, ROW_NUMBER() OVER () AS [row number] FROM main.{quoted(table)}"
                columns = ", ".join(map(quoted, self._tables[table]))
                self._shadow(table, f"SELECT {columns} FROM ({numbered}) WHERE {keeps('[row number]', seed)}")
            yield

    @contextmanager
    def written(self, statement: str, *, missing: Collection[str] = ()) -> Iterator[list[Row]]:
        with self._changed():
            for table in missing:
                self._drop(table)
            self._guarded(statement, _WRITE)
            yield rows_within(self._state(), self._limits)

    def _state(self) -> Iterator[Row]:
        for table, columns in self._listed().items():
            yield from ((table, "column", column, "") for column in columns)
            yield from ((table, "row", *row) for row in self._db.execute(f"SELECT * FROM {quoted(table)}"))

    @contextmanager
    def _changed(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def _drop(self, table: str) -> None:
        for kind in ("TABLE", "VIEW"):
            try:
                self._db.execute(f"DROP {kind} {quoted(table)}")
                return
            except sqlite3.Error as error:
                fault = error
        raise Refuted("context", f"{table} can't be taken away: {fault}")

    def _shadow(self, table: str, select: str) -> None:
        """A view in the table's place."""
        try:
            self._db.execute(f"CREATE TEMP VIEW {quoted(table)} AS {select}")
        except sqlite3.Error as error:
            raise Refuted("context", f"{table} can't be changed: {error}") from None

    def _guarded(self, statement: str, allowed: frozenset[int]) -> tuple[Columns, list[Row], set[tuple[str, str]]]:
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
            with closing(self._db.execute(statement)) as cursor:
                columns = [column[0] for column in cursor.description or ()]
                rows = rows_within(cursor, self._limits)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # ValueError: a NUL in the statement
            raise self._refuted(error) from None
        finally:
            self._db.set_authorizer(None)
            self._db.set_progress_handler(None, 0)
        return columns, rows, read

    def _refuted(self, error: Exception) -> Refuted:
        if self._refusal:
            return Refuted("not_read_only", self._refusal)
        if "one statement at a time" in str(error):
            return Refuted("several_statements", "expected exactly one statement")
        if "too big" in str(error):
            return Refuted("too_large", f"{error}: more than {_LONGEST} characters in one value")
        if "interrupted" in str(error):
            return Refuted("timeout", f"ran longer than {self._limits.seconds:g} s")
        return Refuted("sql_error", str(error))


def _refusal(action: int, first: str, second: str, allowed: frozenset[int]) -> str:
    """Why an action isn't allowed; "" where it is. The meaning of `first` and `second` depends on the action."""
    if action not in allowed:
        return f"{_ACTIONS.get(action, f'action {action}')} is not allowed"
    if action == sqlite3.SQLITE_FUNCTION and second.lower() in _CHANCE:
        return f"{second} gives another value each time"
    if action == sqlite3.SQLITE_UPDATE and allowed is _LOAD and first != "sqlite_master":
        return "UPDATE is not allowed"
    if action == sqlite3.SQLITE_READ and allowed is _READ and first.startswith("sqlite_"):
        return f"{first} is the engine's own table"
    return ""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
