"""What a teacher invented, read back from its statements, to be checked before anyone pays more.

    tables = read_tables(["CREATE TABLE bed (bed_id INT PRIMARY KEY, ...)", "INSERT INTO bed VALUES (1, ...)"], "mysql")
    tables["bed"].columns                ["bed_id", "ward_id", "label"]
    tables["bed"].references             {"ward"}
    tables["bed"].rows                   [(1, 1, "A-01"), ...]

Source of the sizes: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1, and its public recipe: three to five tables
that matter, one or two that don't, three to five columns of each that don't, five to ten rows.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import sqlglot
from pydantic import Field, model_validator
from sqlglot import exp
from sqlglot.errors import SqlglotError

from generators.text_to_sql.taxonomy import Flaw, Sign
from gristmill import Config, Reject
from judges.sql_world import Dialect, brief

Value = str | int | float | bool | None


class Span(Config):
    """From `least` to `most`, both included."""

    least: Annotated[int, Field(ge=0)]
    most: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if self.least > self.most:
            raise ValueError(f"least {self.least} is more than most {self.most}")
        return self

    def __contains__(self, number: int) -> bool:
        return self.least <= number <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most}" if self.least != self.most else f"{self.least}"


class Sizes(Config):
    """How large an invented database is."""

    core_tables: Span = Span(least=3, most=5)
    distractor_tables: Span = Span(least=1, most=2)
    distractor_columns: Span = Span(least=3, most=5)
    rows: Span = Span(least=5, most=10)


@dataclass(slots=True)
class InventedTable:
    name: str
    columns: list[str]
    key: list[str] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    rows: list[tuple[Value, ...]] = field(default_factory=list)

    def values(self, column: str) -> list[Value]:
        place = self.columns.index(column)
        return [row[place] for row in self.rows]


Tables = dict[str, InventedTable]


# --- reading ---------------------------------------------------------------------------------------------------------


def read_tables(statements: Sequence[str], dialect: Dialect) -> Tables:
    """The tables that the statements make.

    Reject `world`: unparsed, unexpected_statement, unknown_table or row_shape.
    """
    tables: Tables = {}
    for statement in statements:
        tree = _parsed(statement, dialect)
        if isinstance(tree, exp.Create) and tree.kind == "TABLE" and isinstance(tree.this, exp.Schema):
            table = _table(tree.this)
            tables[table.name] = table
        elif isinstance(tree, exp.Insert) and isinstance(tree.expression, exp.Values):
            _add_rows(tables, tree, statement)
        else:
            raise Reject("world", "unexpected_statement", brief(statement))
    return tables


def _parsed(statement: str, dialect: Dialect) -> exp.Expr:
    try:
        trees = sqlglot.parse(statement.strip().rstrip(";"), dialect=dialect)
    except (SqlglotError, RecursionError) as error:
        raise Reject("world", "unparsed", f"{brief(str(error))} in: {brief(statement)}") from None
    if len(trees) != 1 or trees[0] is None:
        raise Reject("world", "unexpected_statement", f"{len(trees)} statements in one: {brief(statement)}")
    return trees[0]


def _table(schema: exp.Schema) -> InventedTable:
    definitions = [part for part in schema.expressions if isinstance(part, exp.ColumnDef)]
    table = InventedTable(schema.this.name.lower(), [definition.name.lower() for definition in definitions])
    for definition in definitions:
        kinds = [constraint.kind for constraint in definition.constraints]
        if any(isinstance(kind, exp.PrimaryKeyColumnConstraint) for kind in kinds):
            table.key.append(definition.name.lower())
    for key in schema.find_all(exp.PrimaryKey):
        table.key = [part.name.lower() for part in key.expressions]
    targets = (reference.find(exp.Table) for reference in schema.find_all(exp.Reference))
    table.references = {target.name.lower() for target in targets if target is not None}
    return table


def _add_rows(tables: Tables, insert: exp.Insert, statement: str) -> None:
    target = insert.this.this if isinstance(insert.this, exp.Schema) else insert.this
    table = tables.get(target.name.lower())
    if table is None:
        raise Reject("world", "unknown_table", f"{target.name} is filled and was never made")
    named = (
        [part.name.lower() for part in insert.this.expressions]
        if isinstance(insert.this, exp.Schema)
        else table.columns
    )
    for row in insert.expression.expressions:
        values = [_value(part) for part in row.expressions]
        if len(values) != len(named) or not set(named) <= set(table.columns):
            raise Reject("world", "row_shape", f"{len(values)} values for {len(named)} columns in: {brief(statement)}")
        given = dict(zip(named, values, strict=True))
        table.rows.append(tuple(given.get(column) for column in table.columns))


def _value(node: exp.Expr) -> Value:
    match node:
        case exp.Null():
            return None
        case exp.Boolean():
            return bool(node.this)
        case exp.Neg() | exp.Paren() | exp.Cast():
            inner = _value(node.this)
            return -inner if isinstance(node, exp.Neg) and isinstance(inner, int | float) else inner
        case exp.Literal() if not node.is_string:
            return float(node.name) if re.search(r"[.eE]", node.name) else int(node.name)
    return node.name if isinstance(node, exp.Literal) else node.sql()


# --- sizes and links -------------------------------------------------------------------------------------------------


def check_sizes(
    tables: Tables, distractor_tables: Sequence[str], distractor_columns: Sequence[str], sizes: Sizes
) -> None:
    """Reject `world` where there is too much or too little, or where a table stands alone.

    Reasons: unknown_distractor, core_tables, distractor_tables, distractor_columns, rows, no_key, unlinked.
    """
    apart = {name.lower() for name in distractor_tables}
    unread = Counter(name.lower().rpartition(".")[0] for name in set(distractor_columns))
    known = {*tables, *(f"{table.name}.{column}" for table in tables.values() for column in table.columns)}
    if unknown := [name for name in (*distractor_tables, *distractor_columns) if name.lower() not in known]:
        raise Reject("world", "unknown_distractor", f"not in the schema: {', '.join(unknown)}")
    core = [table for table in tables.values() if table.name not in apart]
    _within("core_tables", len(core), sizes.core_tables, "tables that matter")
    _within("distractor_tables", len(apart), sizes.distractor_tables, "distractor tables")
    for table in core:
        _within(
            "distractor_columns", unread[table.name], sizes.distractor_columns, f"distractor columns of {table.name}"
        )
    for table in tables.values():
        _within("rows", len(table.rows), sizes.rows, f"rows of {table.name}")
        if not table.key:
            raise Reject("world", "no_key", f"{table.name} has no primary key")
        if not table.references and not any(table.name in other.references for other in tables.values()):
            raise Reject("world", "unlinked", f"no foreign key leads to {table.name} or away from it")


def _within(reason: str, number: int, span: Span, what: str) -> None:
    if number not in span:
        raise Reject("world", reason, f"{number} {what}, expected {span}")


# --- flaws -----------------------------------------------------------------------------------------------------------


def check_flaw(tables: Tables, distractor_tables: Sequence[str], flaw: Flaw) -> None:
    """Reject `world, clean_data` where no table that matters shows the flaw."""
    apart = {name.lower() for name in distractor_tables}
    if not any(_shows(table, flaw.sign) for table in tables.values() if table.name not in apart):
        raise Reject("world", "clean_data", f"no column shows {flaw.phrase}")


def _shows(table: InventedTable, sign: Sign) -> bool:
    if sign.repeated:
        return _has_repeated(table)
    return any(_column_shows(table.values(column), sign) for column in table.columns)


def _column_shows(values: list[Value], sign: Sign) -> bool:
    texts = [value for value in values if isinstance(value, str)]
    if sign.empty_beside_null:
        return "" in texts and None in values
    if sign.alike:
        return any(len(same) > 1 for same in _alike(texts, sign.alike))
    found = [[text for text in texts if re.fullmatch(pattern, text)] for pattern in sign.patterns]
    matched = {text for texts_of_one in found for text in texts_of_one}
    return all(found) and sum(text in matched for text in texts) >= sign.least and len(matched) >= sign.spellings


def _alike(texts: list[str], how: str) -> Iterator[set[str]]:
    """The different texts that become one when case is ignored, or spaces at the ends."""
    same: dict[str, set[str]] = {}
    for text in texts:
        same.setdefault(text.lower() if how == "case" else text.strip(), set()).add(text)
    return iter(same.values())


def _has_repeated(table: InventedTable) -> bool:
    keyed = {table.columns.index(column) for column in table.key}
    rest = [tuple(value for place, value in enumerate(row) if place not in keyed) for row in table.rows]
    return len(set(rest)) < len(rest) and len(table.columns) > len(keyed)
