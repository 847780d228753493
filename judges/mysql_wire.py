"""Connections to MySQL or MariaDB: one statement at a time, within limits; what fails is Refuted.

    pair = Pair(address)
    pair.begin(limits)
    pair.loader.command("INSERT INTO loan VALUES ...")
    columns, rows = pair.reader.rows("SELECT ...", limits)

Source: MySQL's manual, "Server Error Message Reference"; MariaDB's for the codes from 1900 on.
"""

from contextlib import suppress
from typing import Any

import pymysql
from pymysql.cursors import SSCursor

from gristmill.errors import GristmillError
from judges.mysql_server import Address, connect
from judges.sql_engine import Columns, Limits, rows_within
from judges.sql_world import Refuted, Row, brief

_REASONS = {
    1969: "timeout",  # MariaDB's max_statement_time
    3024: "timeout",  # MySQL's max_execution_time
    1317: "timeout",
    2006: "crashed",
    2013: "crashed",
    1927: "crashed",
    1931: "timeout",  # MariaDB's max_recursive_iterations, a warning
    3636: "timeout",  # MySQL's cte_max_recursion_depth
    1792: "not_read_only",
    1044: "forbidden",
    1045: "forbidden",
    1142: "forbidden",
    1143: "forbidden",
    1227: "forbidden",
    1290: "forbidden",  # secure_file_priv
    1095: "forbidden",  # KILL
    1301: "out_of_memory",  # a value longer than max_allowed_packet, a warning
    1021: "out_of_memory",
    1037: "out_of_memory",
    1038: "out_of_memory",
    1041: "out_of_memory",
    1114: "out_of_memory",
}
_PATIENCE = 5.0
"""Seconds that a server may take beyond a statement's limit before we hang up."""


class Connection:
    """One statement at a time; what fails is Refuted."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._patience = 0.0
        self._my = self._opened(_PATIENCE)
        self.version = self._version()

    def _opened(self, patience: float) -> "pymysql.Connection[Any]":
        self._patience = patience
        try:
            return connect(self._options, read_timeout=patience)
        except pymysql.MySQLError as error:
            raise GristmillError(
                f"MySQL can't be reached: {error}. Start it or correct its URL, then repeat the command."
            ) from None

    def close(self) -> None:
        if self.alive:
            self._my.close()

    @property
    def alive(self) -> bool:
        return self._my.open

    def _version(self) -> str:
        with self._my.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            said = str(cursor.fetchone()[0])
        number = said.split("-")[0]
        return f"MariaDB {number} (stands in for MySQL)" if "MariaDB" in said else f"MySQL {number}"

    def begin(self, limits: Limits) -> None:
        patience = limits.seconds + _PATIENCE
        if not self.alive or patience != self._patience:
            self.close()
            self._my = self._opened(patience)
        limit = (
            f"max_statement_time = {limits.seconds}"
            if "MariaDB" in self.version
            else f"max_execution_time = {max(1, int(limits.seconds * 1000))}"
        )
        self.command(f"SET SESSION {limit}")

    def command(self, text: str) -> None:
        try:
            with self._my.cursor() as cursor:
                cursor.execute(text)
        except (pymysql.MySQLError, ValueError) as error:
            raise _refuted(error) from None

    def use(self, database: str) -> None:
        self._my.select_db(database)

    def rows(self, query: str, limits: Limits) -> tuple[Columns, list[Row]]:
        """Streamed, so that a result that is too large is not kept; what is left of it is read away."""
        cursor = self._my.cursor(SSCursor)
        try:
            cursor.execute(query)
            columns = [column[0] for column in cursor.description or ()]
            rows = rows_within(cursor, limits)
            warned = cursor.warning_count
        except (pymysql.MySQLError, ValueError) as error:
            raise _refuted(error) from None
        finally:
            with suppress(pymysql.MySQLError):
                cursor.close()
        if warned:
            self._check_complete()
        if not columns:
            raise Refuted("not_a_query", f"this returns no columns: {brief(query)}")
        return columns, rows

    def _check_complete(self) -> None:
        with self._my.cursor() as cursor:
            cursor.execute("SHOW WARNINGS")
            for _, code, said in cursor.fetchall():
                if code in _REASONS:
                    raise Refuted(_REASONS[code], said)


class Pair:
    """A worker's connections: one that loads, and one that may only read."""

    def __init__(self, address: Address) -> None:
        self.database = address.database
        self.loader = Connection(address.loader)
        self.reader = Connection(address.reader)

    def begin(self, limits: Limits) -> None:
        self.loader.begin(limits)
        self.reader.begin(limits)

    def close(self) -> None:
        self.loader.close()
        self.reader.close()


def _refuted(error: Exception) -> Refuted:
    code, said = error.args if len(error.args) == 2 else (0, error)
    reason = _REASONS.get(code, "sql_error")
    for sign, other in (("max_session_mem_used", "out_of_memory"), ("timed out", "timeout")):  # each under a wide code
        reason = other if sign in str(said) else reason
    return Refuted(reason, " ".join(str(said).split()))
