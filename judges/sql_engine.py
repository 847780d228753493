"""What the engines have in common: a database that was made from a context, and that a query is tried on.

    with engine.database(context, limits) as database:
        columns, rows = database.run("SELECT city, COUNT(*) FROM loan GROUP BY city")
        with database.without({"card"}, {"loan.status"}):        # every change is undone at the end of its block
            database.run(...)

A query runs alone, may only read, and ends within the limits, whatever it is. `judges.sqlite_engine` runs in this
process, `judges.postgres_engine` and `judges.mysql_engine` on a server that lives as long as the run.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated

from pydantic import Field

from judges.sql_world import Refuted, Row
from schemas import Config

MAX_SIZE = 1_000_000
"""Characters or bytes, of one value and of a whole result."""

Columns = list[str]


class Limits(Config):
    """What one statement may use, what is checked, and where the servers are.

    `frozen_clock` is the moment that every clock of a query shows; without it a query that asks for the time is
    refused. `sensitivity` false leaves out the check that other rows give another result. `postgres` and `mysql` are
    "local" (a throwaway server of this machine's programs), "docker:IMAGE", or the name of an environment variable
    that holds a URL such as postgresql://role:password@host/database; the role must not be a superuser. `workers`
    are the connections to each server.
    """

    seconds: Annotated[float, Field(gt=0)] = 1.0
    rows: Annotated[int, Field(gt=0)] = 1000
    frozen_clock: datetime | None = None
    sensitivity: bool = True
    postgres: str = "local"
    mysql: str = "local"
    workers: Annotated[int, Field(gt=0)] = 2


class Database(ABC):
    """A context that has been loaded. Blocks don't nest, and a query that fails is the last one of its block."""

    version: str

    @abstractmethod
    def tables(self) -> Mapping[str, list[str]]:
        """The tables and views of the context, with their columns."""

    @abstractmethod
    def run(self, query: str) -> tuple[Columns, list[Row]]:
        """Column names and rows of one read-only statement.

        Refuted: sql_error, not_read_only, forbidden, several_statements, not_a_query, timeout, out_of_memory,
        too_many_rows or too_large.
        """

    @abstractmethod
    def without(self, tables: Collection[str], columns: Collection[str]) -> AbstractContextManager[None]:
        """A block in which these tables and columns (`table.column`) don't exist."""

    @abstractmethod
    def backwards(self, tables: Collection[str]) -> AbstractContextManager[None]:
        """A block in which these tables are read in another order."""

    @abstractmethod
    def thinned(self, tables: Collection[str], seed: int | None) -> AbstractContextManager[None]:
        """A block in which about half of these tables' rows are gone; all of them where `seed` is None."""

    @abstractmethod
    def written(self, statement: str, *, missing: Collection[str] = ()) -> AbstractContextManager[list[Row]]:
        """The state after a statement that may write, in a block; before it the tables in `missing` are dropped.

        The state is a row (table, "column", name, type) per column and a row (table, "row", values) per row.
        """


def rows_within(rows: Iterable[Row], limits: Limits) -> list[Row]:
    """The rows of a cursor; Refuted as soon as they are too many or too large."""
    kept: list[Row] = []
    size = 0
    for row in rows:
        kept.append(tuple(row))
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(kept) > limits.rows:
            raise Refuted("too_many_rows", f"more than {limits.rows} rows")
        if size > MAX_SIZE:
            raise Refuted("too_large", f"more than {MAX_SIZE} characters")
    return kept


def keeps(number: str, seed: int | None) -> str:
    """A condition in SQL on a row's number that holds for about half of the rows, chosen by the seed; or for none."""
    return "1 = 0" if seed is None else f"({number} * 7919 + {seed % 9973 * 131}) % 101 % 2 = 0"


def columns_of(table: str, columns: Collection[str], all_columns: list[str]) -> list[str]:
    """The columns of a table that aren't among `columns`, which are written `table.column`."""
    return [column for column in all_columns if f"{table}.{column}" not in columns]
