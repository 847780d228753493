"""The context of a question: the tables that its query reads and one or two that look as if they mattered.

    context = choose_context(query, rng)
    context.distractor_tables           ["customer"]
    context.distractor_columns          ["branch.branch_id", "branch.name", ...]
    context.world("postgres")           the statements that the proof is about, with all rows
    show(context.tables, "outline", "postgres", rng)
                            branch(branch_id INTEGER primary key, name VARCHAR(50), city VARCHAR(20))
                            customer(customer_id INTEGER primary key, branch_id INTEGER -> branch.branch_id, ...)

The world holds every row of these tables; a prompt shows a few of each, as a person would paste them: they load as they
stand, every foreign key finds its row.
"""

from random import Random
from typing import Literal, NamedTuple, get_args

from generators.text_to_sql.grammar import Query
from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.grammar.sql import quoted
from generators.text_to_sql.schema import Column, Database, Dialect, Table, Value
from generators.text_to_sql.statements import ddl, insert, inserts, literals, parents_first, type_of
from judges.sql_world import SQLWorld

Layout = Literal["ddl", "ddl_inserts", "ddl_comments", "outline", "outline_rows"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""CREATE TABLE alone, followed by INSERTs, or each with rows in comments; one line a table, alone or with rows."""

Rows = list[tuple[Value, ...]]


class QueryContext(NamedTuple):
    tables: tuple[Table, ...]
    distractor_tables: list[str]
    distractor_columns: list[str]

    def world(self, dialect: Dialect) -> SQLWorld:
        return SQLWorld(
            dialect=dialect,
            context="\n".join([*ddl(self.tables, dialect), *inserts(self.tables, dialect)]),
            distractor_tables=self.distractor_tables,
            distractor_columns=self.distractor_columns,
        )


def choose_context(query: Query, rng: Random) -> QueryContext:
    """The tables that an SQLite query reads and one or two that keys link to them."""
    database = query.database
    read = catalog_of(database).reads(query.sql)
    used = {table for table, _ in read}
    linked = sorted(_neighbours(database, used)) or sorted(database.by_name.keys() - used)
    wanted = 2 if len(used) == 1 else rng.choice((1, 2))
    extra = sorted(rng.sample(linked, min(len(linked), wanted)))
    tables = tuple(parents_first(table for table in database.tables if table.name in used.union(extra)))
    unread = [
        f"{table.name}.{column.name}"
        for table in tables
        if table.name in used
        for column in table.columns
        if (table.name, column.name) not in read
    ]
    return QueryContext(tables, extra, unread)


def _neighbours(database: Database, used: set[str]) -> set[str]:
    links = {(table.name, key.table) for table in database.tables for key in table.foreign_keys}
    return {end for a, b in links for end, other in ((a, b), (b, a)) if other in used} - used


def show(tables: tuple[Table, ...], layout: Layout, dialect: Dialect, rng: Random) -> str:
    """The schema as text, with a few rows of each table where the layout has rows."""
    rows = _some_rows(tables, rng)
    if layout == "ddl":
        return "\n\n".join(ddl(tables, dialect))
    if layout == "ddl_inserts":
        filled = (insert(table, some, dialect) for table, some in zip(tables, rows, strict=True))
        return "\n\n".join([*ddl(tables, dialect), *filled])
    if layout == "ddl_comments":
        parts = zip(ddl(tables, dialect), tables, rows, strict=True)
        return "\n\n".join(f"{create}\n{_lines(table, some, dialect, '-- ')}" for create, table, some in parts)
    outlines = [_outline(table, tables, dialect) for table in tables]
    if layout == "outline":
        return "\n".join(outlines)
    parts = zip(outlines, tables, rows, strict=True)
    return "\n\n".join(f"{outline}\n{_lines(table, some, dialect)}" for outline, table, some in parts)


def _some_rows(tables: tuple[Table, ...], rng: Random) -> list[Rows]:
    """Two or three rows of each table, and of its parents all rows that these point to."""
    chosen: dict[str, set[int]] = {table.name: set() for table in tables}
    for table in reversed(tables):  # children first: what they point to may be enough of their parents
        more = [index for index in range(len(table.rows)) if index not in chosen[table.name]]
        wanted = rng.choice((2, 3)) - len(chosen[table.name])
        for index in rng.sample(more, max(0, min(len(more), wanted))):
            _take(table, index, chosen, {table.name: table for table in tables})
    return [[table.rows[index] for index in sorted(chosen[table.name])] for table in tables]


def _take(table: Table, index: int, chosen: dict[str, set[int]], present: dict[str, Table]) -> None:
    """The row, and the rows that it points to."""
    if index in chosen[table.name]:
        return
    chosen[table.name].add(index)
    for key in table.foreign_keys:
        if parent := present.get(key.table):
            value = table.values(key.column)[index]
            for place, other in enumerate(parent.values(key.to_column)):
                if other == value:
                    _take(parent, place, chosen, present)


def _lines(table: Table, rows: Rows, dialect: Dialect, comment: str = "") -> str:
    """Indented; as comments with the names of the columns above."""
    head = [" | ".join(column.name for column in table.columns)] if comment else []
    lines = [*head, *(" | ".join(literals(table, row, dialect)) for row in rows)]
    return "\n".join((comment or "  ") + line for line in lines)


def _outline(table: Table, tables: tuple[Table, ...], dialect: Dialect) -> str:
    present = {other.name for other in tables}
    targets = {key.column: f" -> {key.table}.{key.to_column}" for key in table.foreign_keys if key.table in present}

    def shown(column: Column) -> str:
        key = " primary key" if column.name in table.primary_key else ""
        named = " ".join(filter(None, (quoted(column.name, dialect), type_of(column, dialect))))
        return named + key + targets.get(column.name, "")

    return f"{quoted(table.name, dialect)}({', '.join(map(shown, table.columns))})"
