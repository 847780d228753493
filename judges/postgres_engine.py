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

import json
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from queue import SimpleQueue
from typing import Any

from psycopg import pq

from judges.postgres_server import Address, opened, reachable
from judges.sql_engine import Columns, Database, Limits, columns_of, keeps, rows_within
from judges.sql_server import Server
from judges.sql_world import Refuted, Row, brief, first_word, statements

_LOADING = frozenset({"create", "insert", "alter", "comment", "update", "delete", "drop", "with", "select"})
_FRAME = re.compile(
    r"(set\s.*|begin.*|commit.*|start\s.*|select\s+pg_catalog\.set_config\(.*|alter\s.*\sowner\s+to\s.*)",
    re.IGNORECASE | re.DOTALL,
)
"""What frames a dump and says nothing about its content."""

_REASONS = {
    "57014": "timeout",
    "25006": "not_read_only",
    "42501": "forbidden",
    "53200": "out_of_memory",
    "53400": "out_of_memory",  # temp_file_limit
    "54000": "out_of_memory",
}
_COPYING = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)
_DROP_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE"}
_CATALOG = """
SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attgenerated = '' AND a.attidentity <> 'a'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY c.oid, a.attnum
"""
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


class Connection:
    """libpq, as thin as it comes: a proof is some thirty short commands."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._pg = opened(address)

    def close(self) -> None:
        self._pg.finish()

    @property
    def version(self) -> str:
        number = self._pg.server_version
        return f"PostgreSQL {number // 10000}.{number % 10000}"

    @property
    def alive(self) -> bool:
        return self._pg.status == pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        return self.alive and self._pg.transaction_status != pq.TransactionStatus.IDLE

    def begin(self, limits: Limits) -> None:
        if not self.alive:
            self._pg = opened(self._address)
        milliseconds = max(1, int(limits.seconds * 1000))
        self.command(f"BEGIN; SET LOCAL statement_timeout = {milliseconds}; SET LOCAL cursor_tuple_fraction = 1")

    def end(self) -> None:
        """Leaves nothing behind, also where a statement from outside has ended the transaction."""
        if self.alive:
            self.command("ROLLBACK" if self.in_transaction else "DROP OWNED BY CURRENT_USER CASCADE")

    def command(self, text: str) -> None:
        """Our own statements, several at once."""
        self._checked(self._pg.exec_(text.encode()))

    def execute(self, statement: str) -> None:
        """One statement from outside that may write."""
        self._checked(self._pg.exec_params(_bytes(statement), None))

    def pipeline(self, texts: list[str]) -> None:
        """Statements from outside, each alone but all in one go. Refuted `context`, naming the first that fails."""
        self._pg.enter_pipeline_mode()
        try:
            for text in texts:
                self._pg.send_query_params(_bytes(text), None)
            self._pg.pipeline_sync()
            fault = self._pipeline_fault(texts)
        finally:
            if self.alive:
                self._pg.exit_pipeline_mode()
        if fault:
            raise fault

    def _pipeline_fault(self, texts: list[str]) -> Refuted | None:
        fault: Refuted | None = None
        for text in texts:
            while (result := self._pg.get_result()) is not None:
                if fault is None and result.status == pq.ExecStatus.FATAL_ERROR:
                    refuted = self._refuted(result)
                    fault = Refuted("context", f"{refuted.detail} in: {brief(text)}")
        self._pg.get_result()  # of the sync
        return fault

    def rows(self, query: str, limits: Limits) -> tuple[Columns, list[Row]]:
        """Streamed, so that a result that is too large is noticed at its first rows and then cancelled."""
        self._pg.send_query_params(_bytes(query), None)
        self._pg.set_single_row_mode()
        columns: Columns = []
        try:
            rows = rows_within(self._streamed(columns), limits)
        except Refuted:
            if self.alive:
                self._pg.get_cancel().cancel()
                while self._pg.get_result() is not None:
                    pass
            raise
        if not columns:
            raise Refuted("not_a_query", f"this returns no columns: {brief(query)}")
        return columns, rows

    def _streamed(self, columns: Columns) -> Iterator[Row]:
        while (result := self._pg.get_result()) is not None:
            self._checked(result)
            if not columns:
                columns += [(result.fname(place) or b"").decode() for place in range(result.nfields)]
            types = [result.ftype(place) for place in range(result.nfields)]
            for number in range(result.ntuples):
                yield tuple(_value(result.get_value(number, place), kind) for place, kind in enumerate(types))

    def _checked(self, result: Any) -> None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise self._refuted(result)
        if result.status in _COPYING:
            self._pg.finish()
            raise Refuted("not_read_only", "COPY is not allowed")

    def _refuted(self, result: Any) -> Refuted:
        code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        said = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode(errors="replace")
        if "multiple commands" in said:
            return Refuted("several_statements", "expected exactly one statement")
        return Refuted("crashed" if not code else _REASONS.get(code, "sql_error"), " ".join(said.split()))


class Postgres(Database):
    """A context in a transaction that is still open."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self.version = connection.version

    def load(self, context: str) -> None:
        texts = [text for text in statements(context, "postgres") if not _FRAME.fullmatch(text)]
        for text in texts:
            if first_word(text, "postgres") not in _LOADING:
                raise Refuted("context", f"only tables and rows are loaded, not: {brief(text)}")
        self._connection.pipeline([*texts, "SET CONSTRAINTS ALL IMMEDIATE"])
        self._read_catalog()

    def _read_catalog(self) -> None:
        self._tables: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._free_column: dict[str, str] = {}
        _, rows = self._connection.rows(_CATALOG, self._limits.model_copy(update={"rows": 100_000}))
        for table, kind, column, _, plain in rows:
            self._tables.setdefault(table, [])
            self._kinds[table] = kind
            if column is not None:
                self._tables[table].append(column)
            if plain and kind == "r":
                self._free_column.setdefault(table, column)

    def tables(self) -> dict[str, list[str]]:
        return self._tables

    def run(self, query: str) -> tuple[Columns, list[Row]]:
        with self._undone("query", "SET LOCAL transaction_read_only = on"):
            return self._connection.rows(query, self._limits)

    @contextmanager
    def _undone(self, name: str, *commands: str) -> Iterator[None]:
        """A subtransaction that begins with these commands and is rolled back."""
        try:
            self._connection.command("; ".join((f"SAVEPOINT {name}", *commands)))
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.command(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")

    @contextmanager
    def without(self, tables: Collection[str], columns: Collection[str]) -> Iterator[None]:
        commands = [self._drop(table) for table in sorted(tables)]
        for table in self._tables.keys() - set(tables):
            kept = columns_of(table, columns, self._tables[table])
            gone = [f"DROP COLUMN {quoted(column)} CASCADE" for column in self._tables[table] if column not in kept]
            if gone and self._kinds[table] in "rp":
                commands.append(f"ALTER TABLE {quoted(table)} {', '.join(gone)}")
        with self._undone("changed", *commands):
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
        with self._undone("changed", _block(*loops)):
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
        with self._undone("changed", _block(_WITHOUT_KEYS, *deletions)):
            yield

    @contextmanager
    def written(self, statement: str, *, missing: Collection[str] = ()) -> Iterator[list[Row]]:
        with self._undone("changed", *map(self._drop, missing), _block(_SEQUENCES_ANEW)):
            if statement:
                self._connection.execute(statement)
                self._connection.command("SET CONSTRAINTS ALL IMMEDIATE")
            yield rows_within(self._state(), self._limits)

    def _state(self) -> Iterator[Row]:
        _, catalog = self._connection.rows(_CATALOG, self._limits.model_copy(update={"rows": 100_000}))
        for table, _, column, kind, _ in catalog:
            yield (table, "column", column, kind)
        for table in dict.fromkeys(row[0] for row in catalog):
            _, rows = self._connection.rows(f"SELECT * FROM {quoted(table)}", self._limits)
            yield from ((table, "row", *row) for row in rows)


def _block(*commands: str) -> str:
    return f"DO $gristmill$ DECLARE r record; BEGIN {' '.join(commands)} END $gristmill$"


def _bytes(text: str) -> bytes:
    if "\0" in text:
        raise Refuted("sql_error", "a NUL character")
    return text.encode(errors="replace")


def _value(raw: bytes | None, kind: int) -> Any:
    """A value as Python has it, by the number of its type; what isn't listed stays the text that PostgreSQL writes."""
    if raw is None:
        return None
    text = raw.decode()
    match kind:
        case 16:
            return text == "t"
        case 20 | 21 | 23:
            return int(text)
        case 700 | 701:
            return float(text)
        case 1700:
            return Decimal(text)
        case 114 | 3802:
            return json.loads(text)
    return text


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
