"""MySQL (or MariaDB in its place) as a proof engine: one server per run, one fresh database per check.

    with mysql("local", 2) as server, server.database(context, Limits()) as database:
        columns, rows = database.run("SELECT city, COUNT(*) FROM loan GROUP BY city")

Its DDL can't be rolled back, so a changed database is a second one of views over the first: a table that is left out
has no view, a column that is left out isn't in it. What a statement may do is decided by the server: users have no
rights but on the proof databases (no FILE, no SUPER, no PROCESS), a query comes from one that may only read, in a
read-only transaction, and the protocol takes one statement.

Source: MySQL's manual, "START TRANSACTION", "Server System Variables"; MariaDB's for what is named otherwise there.
"""

import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

from judges.mysql_server import Address, reachable
from judges.mysql_wire import Pair
from judges.sql_engine import Columns, Database, Limits, columns_of, keeps, rows_within
from judges.sql_server import Server
from judges.sql_text import loading
from judges.sql_world import Refuted, Row, brief, first_word

_LOADING = frozenset({"create", "insert", "alter", "update", "delete", "drop", "replace"})
_FRAME = re.compile(
    r"(set|start|begin|commit|lock|unlock|use)\b.*|(create|drop)\s+(database|schema)\b.*", re.IGNORECASE | re.DOTALL
)
"""What frames a dump and says nothing about its content."""

_ALL = 2**64 - 1


class MySQLServer(Server):
    """Two connections per worker, opened anew where they were lost."""

    def __init__(self, addresses: list[Address]) -> None:
        self.workers = ThreadPoolExecutor(len(addresses), thread_name_prefix="mysql")
        self._free: SimpleQueue[Pair] = SimpleQueue()
        for address in addresses:
            self._free.put(Pair(address))

    def close(self) -> None:
        self.workers.shutdown()
        while not self._free.empty():
            self._free.get().close()

    @contextmanager
    def database(self, context: str, limits: Limits) -> Iterator["MySQL"]:
        pair = self._free.get()
        try:
            pair.begin(limits)
            database = MySQL(pair, context, limits)
            database.load()
            yield database
        finally:
            self._free.put(pair)


@contextmanager
def mysql(where: str, workers: int) -> Iterator[MySQLServer]:
    """The server at `where` (see `judges.sql_engine.Limits`). GristmillError where there is none."""
    with reachable(where, workers) as addresses:
        server = MySQLServer(addresses)
        try:
            yield server
        finally:
            server.close()


class MySQL(Database):
    """A context in a database of its own; `_seen` is the database of views, made when it is first needed."""

    def __init__(self, pair: Pair, context: str, limits: Limits) -> None:
        self._loader, self._reader = pair.loader, pair.reader
        self._context = context
        self._limits = limits
        self._base = pair.database
        self._seen = f"{pair.database}_seen"
        self._views: dict[str, str] | None = None
        self.version = pair.loader.version

    def load(self) -> None:
        self._loader.command(f"DROP DATABASE IF EXISTS {quoted(self._base)}")
        self._loader.command(f"CREATE DATABASE {quoted(self._base)}")
        self._loader.use(self._base)
        for statement in loading(self._context, "mysql", self._limits.frozen_clock):
            if _FRAME.fullmatch(statement):
                continue
            if first_word(statement, "mysql") not in _LOADING:
                raise Refuted("context", f"only tables and rows are loaded, not: {brief(statement)}")
            try:
                self._loader.command(statement)
            except Refuted as refuted:
                raise Refuted("context", f"{refuted.detail} in: {brief(statement)}") from None
        self._reader.use(self._base)
        self._tables = self._listed()

    def _listed(self) -> dict[str, list[str]]:
        tables: dict[str, list[str]] = {}
        for table, column, _ in self._columns():
            tables.setdefault(table, []).append(column)
        return tables

    def _columns(self) -> list[Row]:
        query = (
            "SELECT table_name, column_name, column_type FROM information_schema.columns "
            f"WHERE table_schema = '{self._base}' ORDER BY table_name, ordinal_position"
        )
        return self._loader.rows(query, self._limits.model_copy(update={"rows": 100_000}))[1]

    def tables(self) -> dict[str, list[str]]:
        return self._tables

    def run(self, query: str) -> tuple[Columns, list[Row]]:
        self._reader.command("START TRANSACTION READ ONLY")
        try:
            return self._reader.rows(query, self._limits)
        finally:
            if self._reader.alive:
                self._reader.command("ROLLBACK")

    @contextmanager
    def without(self, tables: Collection[str], columns: Collection[str]) -> Iterator[None]:
        kept = {
            table: columns_of(table, columns, names) for table, names in self._tables.items() if table not in tables
        }
        with self._looking_at({table: self._plain(table, names) for table, names in kept.items()}):
            yield

    @contextmanager
    def backwards(self, tables: Collection[str]) -> Iterator[None]:
        views = {table: self._plain(table, names) for table, names in self._tables.items()}
        for table in tables:
            order = ", ".join(f"{number} DESC" for number in range(1, len(self._tables[table]) + 1))
            views[table] += f" ORDER BY {order} LIMIT {_ALL}"
        with self._looking_at(views):
            yield

    @contextmanager
    def thinned(self, tables: Collection[str], seed: int | None) -> Iterator[None]:
        views = {table: self._plain(table, names) for table, names in self._tables.items()}
        for table in tables:
            names = ", ".join(map(quoted, self._tables[table]))
            numbered = f"SELECT *, ROW_NUMBER() OVER () AS `row number` FROM {quoted(self._base)}.{quoted(table)}"
            views[table] = f"SELECT {names} FROM ({numbered}) AS numbered WHERE {keeps('`row number`', seed)}"
        with self._looking_at(views):
            yield

    def _plain(self, table: str, columns: list[str]) -> str:
        return f"SELECT {', '.join(map(quoted, columns)) or 'NULL'} FROM {quoted(self._base)}.{quoted(table)}"

    @contextmanager
    def _looking_at(self, views: dict[str, str]) -> Iterator[None]:
        """A block in which a query sees these views and nothing else. Those that are there already stay."""
        if self._views is None:
            self._loader.command(f"DROP DATABASE IF EXISTS {quoted(self._seen)}")
            self._loader.command(f"CREATE DATABASE {quoted(self._seen)}")
            self._views = {}
        place = quoted(self._seen)
        for table in self._views.keys() - views.keys():
            self._loader.command(f"DROP VIEW {place}.{quoted(table)}")
        for table, select in views.items():
            if self._views.get(table) != select:
                self._loader.command(f"CREATE OR REPLACE VIEW {place}.{quoted(table)} AS {select}")
        self._views = views
        self._reader.use(self._seen)
        try:
            yield
        finally:
            if self._reader.alive:
                self._reader.use(self._base)

    @contextmanager
    def written(self, statement: str, *, missing: Collection[str] = ()) -> Iterator[list[Row]]:
        """On a context that was loaded anew, as nothing here can be undone."""
        self.load()
        self._loader.command("SET SESSION foreign_key_checks = 0")
        for table in missing:
            self._loader.command(f"DROP TABLE IF EXISTS {quoted(table)}")
        self._loader.command("SET SESSION foreign_key_checks = 1")
        if statement:
            self._loader.command(statement)
        yield rows_within(self._state(), self._limits)

    def _state(self) -> Iterator[Row]:
        columns = self._columns()
        yield from ((table, "column", column, kind) for table, column, kind in columns)
        for table in dict.fromkeys(row[0] for row in columns):
            _, rows = self._loader.rows(f"SELECT * FROM {quoted(table)}", self._limits)
            yield from ((table, "row", *row) for row in rows)


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
