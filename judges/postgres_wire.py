"""A connection to PostgreSQL, as thin as it comes: a proof is some thirty short commands.

    connection = Connection(address)
    connection.begin(limits)
    connection.pipeline(["CREATE TABLE loan (...)", "INSERT INTO loan VALUES ..."])      # from outside, each alone
    columns, rows = connection.rows("SELECT ...", limits)                                # from outside, within limits
    connection.end()

Source: PostgreSQL's manual, "libpq", "Pipeline Mode" and "Retrieving Query Results Row-by-Row".
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from psycopg import OperationalError, generators, pq, waiting

from judges.postgres_server import Address, opened
from judges.sql_engine import Columns, Limits, rows_within
from judges.sql_world import Refuted, Row, brief

_REASONS = {
    "57014": "timeout",
    "25006": "not_read_only",
    "42501": "forbidden",
    "53200": "out_of_memory",
    "53400": "out_of_memory",  # temp_file_limit
    "54000": "out_of_memory",
    "57P01": "crashed",
    "57P02": "crashed",
}
_COPYING = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)
_RENEWED_AFTER = 50
"""Checks; the server's process behind a connection remembers every table that it ever saw, and a hundred later takes
half as long again."""

_SWEPT = ", ".join(
    f"pg_catalog.pg_{name}"
    for name in ("class", "attribute", "type", "index", "constraint", "depend", "attrdef", "trigger", "rewrite")
)
"""Where what was rolled back stays until it is swept out."""

_RECOVERY = 20.0
"""Seconds that a server has for its recovery, after one of its processes was killed."""


class Connection:
    """One transaction at a time; opened anew where it was lost."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._pg = opened(address)
        self._later: list[str] = []
        self._checks = 0

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
            self._pg = opened(self._address, patience=_RECOVERY)
        self._checks += 1
        if self._checks % _RENEWED_AFTER == 0:
            self.command(f"VACUUM {_SWEPT}")
            self._pg.finish()
            self._pg = opened(self._address)
        milliseconds = max(1, int(limits.seconds * 1000))
        self.command(f"BEGIN; SET LOCAL statement_timeout = {milliseconds}; SET LOCAL cursor_tuple_fraction = 1")

    def end(self) -> None:
        """Leaves nothing behind, also where a statement from outside has ended the transaction."""
        self._later.clear()
        if self.alive:
            self.command("ROLLBACK" if self.in_transaction else "DROP OWNED BY CURRENT_USER CASCADE")

    def command(self, text: str) -> None:
        """Our own statements, several at once, behind those that were put off."""
        self.listed(text)

    def listed(self, text: str) -> list[Row]:
        """The rows of the last of our own statements."""
        texts, self._later = [*self._later, text], []
        result = self._pg.exec_("; ".join(texts).encode())
        self._checked(result)
        return list(_rows_of(result))

    def later(self, text: str) -> None:
        """Goes with the next command: what wakes the server up costs more than what it is told."""
        self._later.append(text)

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
            while (result := self._next_result()) is not None:
                if fault is None and result.status == pq.ExecStatus.FATAL_ERROR:
                    refuted = self._refuted(result)
                    fault = Refuted("context", f"{refuted.detail} in: {brief(text)}")
        self._next_result()  # of the sync
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
                while self._next_result() is not None:
                    pass
            raise
        if not columns:
            raise Refuted("not_a_query", f"this returns no columns: {brief(query)}")
        return columns, rows

    def _streamed(self, columns: Columns) -> Iterator[Row]:
        while (result := self._next_result()) is not None:
            self._checked(result)
            if not columns:
                columns += [(result.fname(place) or b"").decode() for place in range(result.nfields)]
            yield from _rows_of(result)

    def _next_result(self) -> pq.abc.PGresult | None:
        """As `get_result`, which would keep all other threads waiting with us where it has to wait."""
        if not self._pg.is_busy():
            return self._pg.get_result()
        try:
            result: pq.abc.PGresult | None = waiting.wait(generators.fetch(self._pg), self._pg.socket)
            return result
        except OperationalError as error:
            self._pg.finish()
            raise Refuted("crashed", " ".join(str(error).split())) from None

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


def _rows_of(result: pq.abc.PGresult) -> Iterator[Row]:
    types = [result.ftype(place) for place in range(result.nfields)]
    for number in range(result.ntuples):
        yield tuple(_value(result.get_value(number, place), kind) for place, kind in enumerate(types))


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
        case 700:
            return float(f"{float(text):.6g}")  # a sum of these is no more exact, and depends on their order
        case 701:
            return float(text)
        case 1700:
            return Decimal(text)
        case 114 | 3802:
            return json.loads(text)
    return text
