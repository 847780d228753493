"""What can be asked of a database: which columns are fit for what, which joins lose no row, and what the rows hold.

The rows lie in an SQLite database in memory beside the indexes, so the sampler can look at real values and ties
instead of guessing thresholds.
"""

import sqlite3
from collections.abc import Iterator
from functools import cached_property, lru_cache

from generators.text_to_sql.grammar.plan import Ref
from generators.text_to_sql.schema import Column, Database, ForeignKey, Kind, Table, Value

Row = tuple[Value, ...]


class Unsuited(Exception):
    """The database has nothing to ask of this kind (no date column, no second table ...)."""


class Catalog:
    """Read-only lookups over one database; build it by `catalog_of`, which keeps one per database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._index = {t.name: {c.name: i for i, c in enumerate(t.columns)} for t in database.tables}
        self._holes = {(t.name, c.name) for t in database.tables for c in t.columns if None in t.values(c.name)}
        self._keyed: dict[tuple[str, str], dict[Value, Row]] = {}

    def table(self, name: str) -> Table:
        return self.database.table(name)

    def column(self, ref: Ref) -> Column:
        return self.database.table(ref.table).column(ref.column)

    def complete(self, ref: Ref) -> bool:
        """The column holds no NULL in any row."""
        return (ref.table, ref.column) not in self._holes

    def repeats(self, ref: Ref) -> bool:
        """Worth grouping by: at least two values, no NULL, and fewer values than rows."""
        distinct = len(self.column(ref).values)
        return 2 <= distinct < len(self.table(ref.table).rows) + bool(ref.path) and self.complete(ref)

    # --- joins ---

    def parents(self, table: Table) -> list[ForeignKey]:
        """The foreign keys over which every row finds exactly one parent: inner joins over them lose nothing."""
        return self._parents[table.name]

    @cached_property
    def _parents(self) -> dict[str, list[ForeignKey]]:
        return {
            table.name: [key for key in table.foreign_keys if self._total(table, key)] for table in self.database.tables
        }

    def _total(self, table: Table, key: ForeignKey) -> bool:
        targets = self.table(key.table).values(key.to_column)
        return bool(table.rows) and len(set(targets)) == len(targets) and set(table.values(key.column)) <= set(targets)

    def all_reached(self, table: str, path: tuple[str, ...]) -> bool:
        """Every row of the table at the end of `path` is the parent of some row of `table`."""
        values = set(self.table(table).values(path[0]))
        key = self.key(table, path[0])
        reached = {self._row(key.table, key.to_column, value) for value in values - {None}}
        for step in path[1:]:
            here = key.table
            key = self.key(here, step)
            index = self._index[here][step]
            reached = {self._row(key.table, key.to_column, row[index]) for row in reached if row[index] is not None}
        return len(reached) == len(self.table(key.table).rows)

    def key(self, table: str, column: str) -> ForeignKey:
        return next(key for key in self.table(table).foreign_keys if key.column == column)

    def pointer(self, subject: str, ref: Ref) -> Ref | None:
        """The foreign key that holds the value of `ref` already, where `ref` is the key of a parent row."""
        if not ref.path:
            return None
        *before, step = ref.path
        for earlier in before:
            subject = self.key(subject, earlier).table
        key = self.key(subject, step)
        return Ref(tuple(before), subject, key.column) if key.to_column == ref.column else None

    def reached(self, table: Table, hops: int, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Table]]:
        """Every table that `hops` or fewer total foreign keys lead to, itself first, with the path to it."""
        yield path, table
        if hops:
            for key in self.parents(table):
                yield from self.reached(self.table(key.table), hops - 1, (*path, key.column))

    # --- columns ---

    def refs(self, path: tuple[str, ...], table: Table, *kinds: Kind) -> list[Ref]:
        """The columns of these kinds that hold any value at all."""
        return [Ref(path, table.name, column.name) for column in table.of_kind(*kinds) if column.values]

    def labels(self, path: tuple[str, ...], table: Table) -> tuple[Ref, ...]:
        """What people call a row of the table: its name (first and last), else its number, else whatever is unique."""
        for kinds in (("name",), ("id",), ("text", "category", "date")):
            refs = [ref for ref in self.refs(path, table, *kinds) if self.complete(ref)]
            if refs:
                return tuple(refs[:2]) if kinds == ("name",) else (refs[0],)
        raise Unsuited(f"{table.name} has no column that names its rows")

    def value(self, row: Row, ref: Ref, subject: Table) -> Value:
        """The value that a row of `subject` sees in `ref`, over the joins of its path."""
        table = subject
        for step in ref.path:
            key = self.key(table.name, step)
            row = self._row(key.table, key.to_column, row[self._index[table.name][step]])
            table = self.table(key.table)
        return row[self._index[ref.table][ref.column]]

    def _row(self, table: str, column: str, value: Value) -> Row:
        if (table, column) not in self._keyed:
            index = self._index[table][column]
            self._keyed[table, column] = {row[index]: row for row in self.table(table).rows}
        return self._keyed[table, column][value]

    # --- the rows in SQLite ---

    def execute(self, sql: str) -> list[Row]:
        return self._connection.execute(sql).fetchall()

    def reads(self, sql: str) -> frozenset[tuple[str, str]]:
        """The (table, column) pairs that a query reads; a table that is only counted comes with the column ""."""
        read: set[tuple[str, str]] = set()

        def note(action: int, table: str | None, column: str | None, *_: str | None) -> int:
            if action == sqlite3.SQLITE_READ:
                read.add((table or "", column or ""))
            return sqlite3.SQLITE_OK

        self._connection.set_authorizer(note)
        try:
            self._connection.execute(f"EXPLAIN {sql}")
        finally:
            self._connection.set_authorizer(None)
        return frozenset((table, column) for table, column in read if table in self.database.by_name)

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        for table in self.database.tables:
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
            connection.execute(f'CREATE TABLE "{table.name}" ({columns})')
            connection.executemany(
                f'INSERT INTO "{table.name}" VALUES ({", ".join("?" * len(table.columns))})', table.rows
            )
        return connection


@lru_cache(maxsize=256)
def catalog_of(database: Database) -> Catalog:
    return Catalog(database)
