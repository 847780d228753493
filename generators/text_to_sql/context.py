"""The context of a question: the tables that its query reads and one or two that look as if they mattered.

    tables, world = choose_context(database, "SELECT city, COUNT(*) FROM branch GROUP BY city", rng, limits)
    world.distractor_tables        ["customer"]
    world.distractor_columns       ["branch.branch_id", "branch.name", ...]
    show(tables, "outline", rng)
                            branch(branch_id INTEGER primary key, name TEXT, city TEXT)
                            customer(customer_id INTEGER primary key, branch_id INTEGER -> branch.branch_id, ...)

The world holds every row of these tables; a prompt shows two or three of each, as a person would paste them.
"""

from random import Random
from typing import Literal, get_args

from generators.text_to_sql.load import ddl, insert, inserts, literal, name_in_sql, parents_first
from generators.text_to_sql.schema import Column, Database, Table, Value
from judges.sql_engine import Limits
from judges.sql_world import SQLWorld, joined
from judges.sqlite_engine import SQLite

Layout = Literal["ddl", "ddl_inserts", "ddl_comments", "outline", "outline_rows"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""CREATE TABLE alone, followed by INSERTs, or each with rows in comments; one line a table, alone or with rows."""

Rows = list[tuple[Value, ...]]


def choose_context(database: Database, query: str, rng: Random, limits: Limits) -> tuple[tuple[Table, ...], SQLWorld]:
    """The tables that the query reads and one or two that keys link to them; Refuted where the query can't run."""
    with SQLite(joined([*ddl(database.tables), *inserts(database.tables)]), limits) as engine:
        read = engine.reads(query)
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
    context = joined([*ddl(tables), *inserts(tables)])
    return tables, SQLWorld(context=context, distractor_tables=extra, distractor_columns=unread)


def _neighbours(database: Database, used: set[str]) -> set[str]:
    links = {(table.name, key.table) for table in database.tables for key in table.foreign_keys}
    return {end for a, b in links for end, other in ((a, b), (b, a)) if other in used} - used


def show(tables: tuple[Table, ...], layout: Layout, rng: Random) -> str:
    """The schema as text, with two or three rows of each table where the layout has rows."""
    rows = [_some_rows(table, rng) for table in tables]
    if layout == "ddl":
        return "\n\n".join(ddl(tables))
    if layout == "ddl_inserts":
        return "\n\n".join([*ddl(tables), *map(insert, tables, rows)])
    if layout == "ddl_comments":
        parts = zip(ddl(tables), tables, rows, strict=True)
        return "\n\n".join(f"{create}\n{_lines(some, '-- ', table)}" for create, table, some in parts)
    outlines = [_outline(table, tables) for table in tables]
    if layout == "outline":
        return "\n".join(outlines)
    return "\n\n".join(f"{outline}\n{_lines(some, '  ')}" for outline, some in zip(outlines, rows, strict=True))


def _some_rows(table: Table, rng: Random) -> Rows:
    chosen = rng.sample(range(len(table.rows)), min(len(table.rows), rng.choice((2, 3))))
    return [table.rows[index] for index in sorted(chosen)]


def _lines(rows: Rows, prefix: str, headed: Table | None = None) -> str:
    head = [" | ".join(column.name for column in headed.columns)] if headed else []
    return "\n".join(prefix + line for line in [*head, *(" | ".join(map(literal, row)) for row in rows)])


def _outline(table: Table, tables: tuple[Table, ...]) -> str:
    present = {other.name for other in tables}
    targets = {key.column: f" -> {key.table}.{key.to_column}" for key in table.foreign_keys if key.table in present}

    def shown(column: Column) -> str:
        key = " primary key" if column.name in table.primary_key else ""
        return " ".join(filter(None, (name_in_sql(column.name), column.type))) + key + targets.get(column.name, "")

    return f"{name_in_sql(table.name)}({', '.join(map(shown, table.columns))})"
