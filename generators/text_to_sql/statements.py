"""A database back to SQL, in the words and types of a dialect: CREATE TABLE and INSERT.

    ddl(tables, "postgres")   CREATE TABLE loan (
                                loan_id INTEGER PRIMARY KEY,
                                branch_id INTEGER NOT NULL REFERENCES branch (branch_id),
                                amount NUMERIC(10, 2) NOT NULL,
                                settled BOOLEAN NOT NULL
                              );

SQLite keeps the types of the schema. The other two get the native type that the kind of a column and its values ask
for: DATE or a timestamp, BOOLEAN, exact decimals, VARCHAR where the values are short.
"""

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import cast

from generators.text_to_sql.grammar.sql import quoted
from generators.text_to_sql.schema import Column, Dialect, ForeignKey, Table, Value


def ddl(tables: Iterable[Table], dialect: Dialect = "sqlite") -> list[str]:
    """A CREATE TABLE for each table, parents first; keys to tables that aren't among them are left out."""
    ordered = parents_first(tables)
    present = {table.name: table for table in ordered}
    return [_create(table, present, dialect) for table in ordered]


def inserts(tables: Iterable[Table], dialect: Dialect = "sqlite") -> list[str]:
    """One INSERT with all rows for each table that has any, parents first."""
    return [_filled(table, dialect) for table in parents_first(tables) if table.rows]


@lru_cache(maxsize=1024)
def _filled(table: Table, dialect: Dialect) -> str:
    return insert(table, table.rows, dialect)


def insert(table: Table, rows: Iterable[tuple[Value, ...]], dialect: Dialect = "sqlite") -> str:
    lines = ",\n".join("(" + ", ".join(literals(table, row, dialect)) + ")" for row in rows)
    return f"INSERT INTO {quoted(table.name, dialect)} VALUES\n{lines};"


def parents_first(tables: Iterable[Table]) -> list[Table]:
    """A table after those that its keys point to; a circle is cut where it is entered."""
    by_name = {table.name: table for table in tables}
    ordered: dict[str, Table] = {}

    def visit(table: Table, above: frozenset[str]) -> None:
        if table.name in ordered or table.name in above:
            return
        for key in table.foreign_keys:
            if key.table in by_name:
                visit(by_name[key.table], above | {table.name})
        ordered[table.name] = table

    for table in by_name.values():
        visit(table, frozenset())
    return list(ordered.values())


def literals(table: Table, row: tuple[Value, ...], dialect: Dialect) -> list[str]:
    return [literal(value, column, dialect) for value, column in zip(row, table.columns, strict=True)]


def literal(value: Value, column: Column, dialect: Dialect) -> str:
    if value is None:
        return "NULL"
    if column.kind == "flag" and dialect != "sqlite":
        return "TRUE" if value else "FALSE"
    if not isinstance(value, str):
        return repr(value) if dialect == "sqlite" else format(Decimal(repr(value)), "f")
    text = value.replace("'", "''")
    return "'" + (text.replace("\\", "\\\\") if dialect == "mysql" else text) + "'"


def type_of(column: Column, dialect: Dialect) -> str:
    if dialect == "sqlite":
        return column.type
    if column.kind == "flag":
        return "BOOLEAN"
    if column.kind == "date":
        return ("TIMESTAMP" if dialect == "postgres" else "DATETIME") if column.has_time else "DATE"
    values = column.values
    if values and all(isinstance(value, int) for value in values):
        whole = column.type.upper() not in ("REAL", "FLOAT", "DOUBLE", "NUMERIC")
        if whole:
            return "INTEGER" if all(abs(cast(int, value)) < 2**31 for value in values) else "BIGINT"
    if values and all(isinstance(value, int | float) for value in values):
        return _decimal(values, "NUMERIC" if dialect == "postgres" else "DECIMAL")
    longest = max((len(str(value)) for value in values), default=0)
    if column.kind == "text" and longest > 80:
        return "TEXT"
    return f"VARCHAR({next(size for size in (20, 50, 100, 255, 500, 2000, 16000) if longest <= size)})"


def _decimal(values: Iterable[Value], name: str) -> str:
    """Room for the longest number, with two decimals or as many as the values have."""
    numbers = [Decimal(repr(value)) for value in values]
    scale = max(2, *(max(0, -cast(int, number.normalize().as_tuple().exponent)) for number in numbers))
    whole = max(len(str(int(abs(number)))) for number in numbers)
    return f"{name}({max(10, whole + scale + 2)}, {scale})"


def _create(table: Table, tables: dict[str, Table], dialect: Dialect) -> str:
    """SQLite and PostgreSQL say the target of a key beside its column; MySQL would ignore it there."""
    targets = {key.column: key for key in table.foreign_keys if _can_point(key, tables, dialect)}
    lines, constraints = [], []
    for column in table.columns:
        target = targets.get(column.name)
        pointed = tables[target.table].column(target.to_column) if target else column
        parts = [quoted(column.name, dialect), column.type if dialect == "sqlite" else type_of(pointed, dialect)]
        if table.primary_key == (column.name,):
            parts.append("PRIMARY KEY")
        elif not column.nullable:
            parts.append("NOT NULL")
        if target:
            points = f"REFERENCES {quoted(target.table, dialect)} ({quoted(target.to_column, dialect)})"
            if dialect == "mysql":
                constraints.append(f"  FOREIGN KEY ({quoted(column.name, dialect)}) {points}")
            else:
                parts.append(points)
        lines.append("  " + " ".join(filter(None, parts)))
    if len(table.primary_key) > 1:
        names = ", ".join(quoted(name, dialect) for name in table.primary_key)
        constraints.insert(0, f"  PRIMARY KEY ({names})")
    return f"CREATE TABLE {quoted(table.name, dialect)} (\n" + ",\n".join([*lines, *constraints]) + "\n);"


def _can_point(key: ForeignKey, tables: dict[str, Table], dialect: Dialect) -> bool:
    """The target is there; SQLite alone lets a key point to a column that isn't declared unique."""
    if key.table not in tables:
        return False
    return dialect == "sqlite" or tables[key.table].primary_key == (key.to_column,)
