"""The small parts of SQL: identifiers, literals, windows, and the text of a tree in one stable layout."""

import re
from collections.abc import Iterable

from sqlglot import exp
from sqlglot.generators.sqlite import SQLiteGenerator

OPERATORS: dict[str, type[exp.Binary]] = {
    "eq": exp.EQ,
    "ne": exp.NEQ,
    "lt": exp.LT,
    "le": exp.LTE,
    "gt": exp.GT,
    "ge": exp.GTE,
}
FUNCTIONS = {"count": "COUNT", "count_distinct": "COUNT", "sum": "SUM", "avg": "AVG", "min": "MIN", "max": "MAX"}
_RESERVED = frozenset((
    "add", "all", "alter", "and", "as", "between", "by", "case", "check", "collate", "column", "commit",
    "constraint", "create", "cross", "current_date", "current_time", "current_timestamp", "default", "delete",
    "desc", "distinct", "drop", "else", "end", "escape", "except", "exists", "foreign", "from", "full", "group",
    "having", "in", "index", "inner", "insert", "intersect", "into", "is", "isnull", "join", "key", "left", "like",
    "limit", "natural", "not", "null", "offset", "on", "or", "order", "outer", "over", "partition", "primary",
    "references", "right", "row", "rows", "select", "set", "table", "then", "to", "transaction", "trigger", "union",
    "unique", "update", "using", "values", "view", "when", "where", "with",
))  # fmt: skip


class _Generator(SQLiteGenerator):
    """Writes `x NOT IN (...)` and `x NOT LIKE y`, where sqlglot would put the NOT before x."""

    def not_sql(self, expression: exp.Not) -> str:
        inner = expression.this
        if isinstance(inner, exp.In | exp.Like):
            left = self.sql(inner, "this")
            return f"{left} NOT {self.sql(inner)[len(left) + 1 :]}"
        return str(super().not_sql(expression))


def to_sql(ast: exp.Expr) -> str:
    """SQLite text, pretty and stable."""
    return str(_Generator(dialect="sqlite", pretty=True, max_text_width=60).generate(ast))


def identifier(name: str) -> exp.Identifier:
    plain = re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in _RESERVED
    return exp.to_identifier(name, quoted=not plain)


def column(name: str, table: str | None = None) -> exp.Column:
    return exp.Column(this=identifier(name), table=identifier(table) if table else None)


def literal(value: object) -> exp.Expr:
    """5000.0 is written 5000."""
    if isinstance(value, str):
        return exp.Literal.string(value)
    return exp.convert(int(value) if isinstance(value, float) and value.is_integer() else value)


def ordered(expression: exp.Expr, descending: bool) -> exp.Ordered:
    return exp.Ordered(this=expression, desc=descending or None, nulls_first=not descending)


def rounded(expression: exp.Expr, decimals: int | None) -> exp.Expr:
    return expression if decimals is None else exp.Round(this=expression, decimals=literal(decimals))


def window(
    function: exp.Expr,
    partition: Iterable[exp.Expr],
    order: list[exp.Ordered],
    rows: int | None = None,
    running: bool = False,
) -> exp.Window:
    """`rows` counts the preceding rows of the frame; `running` starts it at the first row."""
    spec = None
    if running or rows is not None:
        start: str | exp.Expr = "UNBOUNDED" if running else literal(rows)
        spec = exp.WindowSpec(kind="ROWS", start=start, start_side="PRECEDING", end="CURRENT ROW")
    return exp.Window(
        this=function, partition_by=list(partition), order=exp.Order(expressions=order) if order else None, spec=spec
    )


def table(name: str, alias: str | None = None) -> exp.Table:
    return exp.Table(
        this=identifier(name), alias=exp.TableAlias(this=identifier(alias)) if alias and alias != name else None
    )


def negate(expression: exp.Expr, negated: bool) -> exp.Expr:
    return exp.Not(this=expression) if negated else expression
