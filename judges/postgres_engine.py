"""PostgreSQL as a proof engine: one server per run, one transaction per check, rolled back at its end.

    with postgres("local", 2) as server, server.database(context, Limits()) as database:
        columns, rows = database.run("SELECT city, COUNT(*) FROM loan GROUP BY city")

A rolled-back transaction takes a fraction of the time of a fresh database (see benchmarks/text_to_sql.py), so each
worker has a database of its own, in which every check begins and ends with nothing. What a statement may do is decided
by the server: the role owns that database and is nothing else; functions that PostgreSQL calls volatile (they read
files, sleep, end sessions, throw dice) are not granted to it; a query runs in a read-only subtransaction and by the
extended protocol, which takes one statement.

Source: PostgreSQL's manual, "Predefined Roles", "SET TRANSACTION", "Pipeline Mode".
"""

import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

from judges.postgres_server import Address, reachable
from judges.postgres_wire import Connection
from judges.sql_engine import Columns, Database, Limits, columns_of, keeps, rows_within
from judges.sql_server import Server
from judges.sql_text import loading
from judges.sql_world import Refuted, Row, brief, first_word

_LOADING = frozenset({"create", "insert", "alter", "comment", "update", "delete", "drop", "with", "select"})
_FRAME = re.compile(
    r"\\\w+.*|(create|drop)\s+database\s.*|set\s.*|begin.*|commit.*|start\s.*|"
    r"select\s+pg_catalog\.set_config\(.*|alter\s.*\sowner\s+to\s.*",
    re.IGNORECASE | re.DOTALL,
)
"""What frames a dump and says nothing about its content."""

_DROP_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE"}
_CATALOG = """
SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attgenerated = '' AND a.attidentity <> 'a'
FROM pg_catalog.pg_class c
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm')
ORDER BY c.oid, a.attnum
"""
"""From 16384 on are the objects that aren't the system's."""

_WITHOUT_KEYS = """
FOR r IN SELECT conname, conrelid::regclass AS place FROM pg_catalog.pg_constraint WHERE contype = 'f' LOOP
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', r.place, r.conname);
END LOOP;
"""
_SEQUENCES_ANEW = """
FOR r IN SELECT schemaname, sequencename, COALESCE(last_value + increment_by, start_value) AS next
FROM pg_catalog.pg_sequences LOOP
  EXECUTE format('ALTER SEQUENCE %I.%I RESTART WITH %s', r.schemaname, r.sequencename, r.next);
END LOOP;
"""
"""In a subtransaction: what a sequence gives afterwards is undone with it, which is not so otherwise."""


class PostgresServer(Server):
    """A connection per worker, opened anew where it was lost."""

    def __init__(self, addresses: list[Address]) -> None:
        self.workers = ThreadPoolExecutor(len(addresses), thread_name_prefix="postgres")
        self._free: SimpleQueue[Connection] = SimpleQueue()
        for address in addresses:
            self._free.put(Connection(address))

    def close(self) -> None:
        self.workers.shutdown()
        while not self._free.empty():
            self._free.get().close()

    @contextmanager
    def database(self, context: str, limits: Limits) -> Iterator["Postgres"]:
        connection = self._free.get()
        try:
            connection.begin(limits)
            database = Postgres(connection, limits)
            database.load(context)
            yield database
        finally:
            connection.end()
            self._free.put(connection)


@contextmanager
def postgres(where: str, workers: int) -> Iterator[PostgresServer]:
    """The server at `where` (see `judges.sql_engine.Limits`). GristmillError where there is none."""
    with reachable(where, workers) as addresses:
        server = PostgresServer(addresses)
        try:
            yield server
        finally:
            server.close()


class Postgres(Database):
    """A context in a transaction that is still open."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._reading = False
        self.version = connection.version

    def load(self, context: str) -> None:
        found = loading(context, "postgres", self._limits.frozen_clock)
        texts = [text for text in found if not _FRAME.fullmatch(text)]
        for text in texts:
            if first_word(text, "postgres") not in _LOADING:
                raise Refuted("context", f"only tables and rows are loaded, not: {brief(text)}")
        self._connection.pipeline([*texts, "SET CONSTRAINTS ALL IMMEDIATE"])
        self._read_catalog()

    def _read_catalog(self) -> None:
        self._tables: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._free_column: dict[str, str] = {}
        for table, kind, column, _, plain in self._connection.listed(_CATALOG):
            self._tables.setdefault(table, [])
            self._kinds[table] = kind
            if column is not None:
                self._tables[table].append(column)
            if plain and kind == "r":
                self._free_column.setdefault(table, column)

    def tables(self) -> dict[str, list[str]]:
        return self._tables

    def run(self, query: str) -> tuple[Columns, list[Row]]:
        if self._reading:
            return self._connection.rows(query, self._limits)
        with self._changed():
            return self._connection.rows(query, self._limits)

    @contextmanager
    def _changed(self, *commands: str) -> Iterator[None]:
        """A subtransaction that begins with these commands, only reads after them, and is rolled back."""
        with self._undone(*commands, "SET LOCAL transaction_read_only = on"):
            self._reading = True
            try:
                yield
            finally:
                self._reading = False

    @contextmanager
    def _undone(self, *commands: str) -> Iterator[None]:
        try:
            self._connection.command("; ".join(("SAVEPOINT here", *commands)))
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.later("ROLLBACK TO SAVEPOINT here; RELEASE SAVEPOINT here")

    @contextmanager
    def without(self, tables: Collection[str], columns: Collection[str]) -> Iterator[None]:
        commands = [self._drop(table) for table in sorted(tables)]
        for table in self._tables.keys() - set(tables):
            kept = columns_of(table, columns, self._tables[table])
            gone = [f"DROP COLUMN {quoted(column)} CASCADE" for column in self._tables[table] if column not in kept]
            if gone and self._kinds[table] in "rp":
                commands.append(f"ALTER TABLE {quoted(table)} {', '.join(gone)}")
        with self._changed(*commands):
            yield

    def _drop(self, table: str) -> str:
        return f"DROP {_DROP_KINDS[self._kinds[table]]} IF EXISTS {quoted(table)} CASCADE"

    @contextmanager
    def backwards(self, tables: Collection[str]) -> Iterator[None]:
        """Each row is written again, the last one first: a table is read in the order in which it was written."""
        behind_views = any(self._kinds[table] != "r" for table in tables)
        loops = [
            f"FOR r IN SELECT ctid AS place FROM {quoted(table)} ORDER BY ctid DESC LOOP "
            f"UPDATE {quoted(table)} SET {quoted(column)} = {quoted(column)} WHERE ctid = r.place; END LOOP;"
            for table, column in self._free_column.items()
            if behind_views or table in tables
        ]
        with self._changed(_block(*loops)):
            yield

    @contextmanager
    def thinned(self, tables: Collection[str], seed: int | None) -> Iterator[None]:
        behind_views = any(self._kinds[table] != "r" for table in tables)
        chosen = [name for name, kind in self._kinds.items() if kind == "r" and (behind_views or name in tables)]
        deletions = [
            f"DELETE FROM {quoted(table)} WHERE ctid IN (SELECT place FROM (SELECT ctid AS place, row_number() OVER () "
            f"AS number FROM {quoted(table)}) AS numbered WHERE NOT ({keeps('number', seed)}));"
            for table in chosen
        ]
        with self._changed(_block(_WITHOUT_KEYS, *deletions)):
            yield

    @contextmanager
    def written(self, statement: str, *, missing: Collection[str] = ()) -> Iterator[list[Row]]:
        with self._undone(*map(self._drop, missing), _block(_SEQUENCES_ANEW)):
            if statement:
                self._connection.execute(statement)
                self._connection.command("SET CONSTRAINTS ALL IMMEDIATE")
            yield rows_within(self._state(), self._limits)

    def _state(self) -> Iterator[Row]:
        catalog = self._connection.listed(_CATALOG)
        for table, _, column, kind, _ in catalog:
            yield (table, "column", column, kind)
        for table in dict.fromkeys(row[0] for row in catalog):
            _, rows = self._connection.rows(f"SELECT * FROM {quoted(table)}", self._limits)
            yield from ((table, "row", *row) for row in rows)


def _block(*commands: str) -> str:
    return f"DO $gristmill$ DECLARE r record; BEGIN {' '.join(commands)} END $gristmill$"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
