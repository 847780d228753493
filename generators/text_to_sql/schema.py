"""A relational database as the text-to-SQL generator sees it: tables, keys, human words and the rows themselves.

    Database("bank", "retail banking", (
        Table("branch", "branch", "branches", (
            Column("branch_id", "INTEGER", "branch number", "id", values=(1, 2)),
            Column("city", "TEXT", "city", "category", values=("Ghent", "Lille")),
        ), primary_key=("branch_id",), rows=((1, "Ghent"), (2, "Lille"))),
        Table("loan", "loan", "loans", (
            Column("loan_id", "INTEGER", "loan number", "id", values=(7,)),
            Column("branch_id", "INTEGER", "branch number", "key", values=(2,)),
            Column("amount", "REAL", "loan amount", "measure", unit="euros", additive=True, values=(1500.0,)),
            Column("settled", "INTEGER", "paid back in full", "flag", values=(0,)),
        ), primary_key=("loan_id",), foreign_keys=(ForeignKey("branch_id", "branch", "branch_id"),),
           rows=((7, 2, 1500.0, 0),)),
    ))

The words matter as much as the types: the verbaliser speaks only in them, and the paraphrase check listens for them.
Everything is immutable and compared by identity, so indexes over a database can be cached on the object itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from judges.sql_world import Dialect

__all__ = ["Column", "Database", "Dialect", "ForeignKey", "Kind", "Table", "Value", "distinct"]

Value = int | float | str | None

Kind = Literal["id", "key", "measure", "category", "name", "date", "flag", "text"]
"""What a column is good for.

id        identifies a row of its own table (primary key, serial or invoice number): selected and counted, never summed.
key       points to another table (foreign key): joined over, never shown or compared.
measure   a number one can compare and average; sum it only where `additive`.
category  one of a few repeated values: filtered and grouped by.
name      how people call a row (customer name, product title): what a question asks for.
date      ISO text, `2024-03-31` or `2024-03-31 18:05:00`.
flag      0 or 1; its words are what follows "is": "active", "paid back in full".
text      free text, phone numbers, e-mail addresses, codes: shown, searched by LIKE, never counted with.
"""


@dataclass(frozen=True, eq=False)
class Column:
    """One column. `words` is a singular noun phrase without article ("loan amount"; for a flag an adjective phrase)."""

    name: str
    type: str
    words: str
    kind: Kind
    unit: str | None = None
    """Plural unit of a measure ("euros", "kg", "percent"); "year" for a calendar year; None where it has none."""
    additive: bool = False
    """A sum over rows means something: amounts, quantities, hours. Not rates, ages, ratings or prices per unit."""
    nullable: bool = False
    values: tuple[Value, ...] = ()
    """The distinct values seen, without NULL, in order of first appearance."""

    @cached_property
    def has_time(self) -> bool:
        """A date column that also holds the time of day."""
        return self.kind == "date" and any(len(str(value)) > 10 for value in self.values)


@dataclass(frozen=True, eq=False)
class ForeignKey:
    """`column` of the table that holds this key points to `to_column` of `table` (composite keys are not modelled)."""

    column: str
    table: str
    to_column: str
    words: str | None = None
    """The role of the other row, where its table's own noun is not clear: "departure airport". None = that noun."""


@dataclass(frozen=True, eq=False)
class Table:
    """One table: its rows are tuples in the order of `columns`."""

    name: str
    singular: str
    plural: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    person: bool = False
    """Rows are people: "customers who", not "customers that"."""

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def column(self, name: str) -> Column:
        return self.by_name[name]

    def values(self, name: str) -> list[Value]:
        """A column as stored, one value per row, NULLs included."""
        index = [column.name for column in self.columns].index(name)
        return [row[index] for row in self.rows]

    def of_kind(self, *kinds: Kind) -> list[Column]:
        return [column for column in self.columns if column.kind in kinds]


@dataclass(frozen=True, eq=False)
class Database:
    """A database for one question: core tables, and perhaps distractor tables that the caller adds later."""

    name: str
    industry: str
    tables: tuple[Table, ...]

    @cached_property
    def by_name(self) -> dict[str, Table]:
        return {table.name: table for table in self.tables}

    def table(self, name: str) -> Table:
        return self.by_name[name]

    def children(self, name: str) -> list[tuple[Table, ForeignKey]]:
        """Every (table, key) that points to the table `name`."""
        return [(table, key) for table in self.tables for key in table.foreign_keys if key.table == name]


def distinct(values: Sequence[Value]) -> tuple[Value, ...]:
    """The distinct values without NULL in order of first appearance: what `Column.values` holds."""
    return tuple(dict.fromkeys(value for value in values if value is not None))
