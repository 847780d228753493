"""The small parts of SQL that all dialects share, and the text of a tree in one stable layout.

Identifiers are written as they are in the tree; `to_sql` quotes those that the dialect would not read back.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Literal

from sqlglot import exp

from generators.text_to_sql.schema import Dialect

OPERATORS: dict[str, type[exp.Binary]] = {
    "eq": exp.EQ,
    "ne": exp.NEQ,
    "lt": exp.LT,
    "le": exp.LTE,
    "gt": exp.GT,
    "ge": exp.GTE,
}
FUNCTIONS = {"count": "COUNT", "count_distinct": "COUNT", "sum": "SUM", "avg": "AVG", "min": "MIN", "max": "MAX"}
_EVERYWHERE = frozenset((
    "all", "alter", "and", "as", "asc", "between", "by", "case", "check", "collate", "column", "constraint", "create",
    "cross", "current_date", "current_time", "current_timestamp", "default", "delete", "desc", "distinct", "drop",
    "else", "end", "except", "exists", "foreign", "from", "full", "grant", "group", "having", "in", "index", "inner",
    "insert", "intersect", "into", "is", "join", "key", "leading", "left", "like", "limit", "natural", "not", "null",
    "offset", "on", "or", "order", "outer", "over", "partition", "primary", "references", "right", "row", "rows",
    "select", "set", "table", "then", "to", "trailing", "trigger", "union", "unique", "update", "using", "values",
    "when", "where", "window", "with",
))  # fmt: skip
_RESERVED: dict[Dialect, frozenset[str]] = {
    "sqlite": _EVERYWHERE | {"add", "commit", "escape", "isnull", "notnull", "returning", "transaction", "view"},
    "postgres": _EVERYWHERE | frozenset((
        "analyse", "analyze", "any", "array", "asymmetric", "authorization", "binary", "both", "cast", "collation",
        "concurrently", "current_role", "current_user", "deferrable", "do", "false", "fetch", "for", "freeze", "ilike",
        "initially", "isnull", "lateral", "localtime", "localtimestamp", "notnull", "only", "overlaps", "placing",
        "returning", "session_user", "similar", "some", "symmetric", "tablesample", "true", "user", "variadic",
        "verbose",
    )),
    "mysql": _EVERYWHERE | frozenset((
        "accessible", "add", "analyze", "before", "bigint", "binary", "blob", "both", "call", "cascade", "change",
        "char", "character", "condition", "continue", "convert", "cube", "cume_dist", "current_user", "cursor",
        "database", "databases", "dec", "decimal", "declare", "delayed", "dense_rank", "describe", "div", "double",
        "dual", "each", "elseif", "empty", "enclosed", "escaped", "exit", "explain", "false", "fetch", "first_value",
        "float", "for", "force", "fulltext", "function", "generated", "get", "grouping", "groups", "high_priority",
        "if", "ignore", "infile", "inout", "int", "integer", "interval", "iterate", "kill", "lag", "last_value",
        "lateral", "lead", "leave", "linear", "lines", "load", "lock", "long", "longtext", "loop", "match",
        "maxvalue", "mod", "modifies", "nth_value", "ntile", "numeric", "of", "optimize", "option", "optionally",
        "out", "outfile", "percent_rank", "precision", "procedure", "purge", "range", "rank", "read", "reads", "real",
        "recursive", "regexp", "release", "rename", "repeat", "replace", "require", "resignal", "restrict", "return",
        "returning", "revoke", "rlike", "row_number", "schema", "schemas", "separator", "show", "signal", "smallint",
        "spatial", "specific", "sql", "ssl", "starting", "stored", "straight_join", "system", "terminated", "tinyint",
        "true", "undo", "unlock", "unsigned", "usage", "use", "varchar", "varying", "virtual", "while", "write",
        "xor", "zerofill",
    )),
}  # fmt: skip


@cache
def is_plain(name: str, dialect: Dialect) -> bool:
    """The dialect reads the name back without quotes; PostgreSQL folds capitals."""
    shape = r"[a-z_][a-z0-9_]*" if dialect == "postgres" else r"[A-Za-z_]\w*"
    return bool(re.fullmatch(shape, name, re.ASCII)) and name.lower() not in _RESERVED[dialect]


def to_sql(ast: exp.Expr, dialect: Dialect = "sqlite") -> str:
    """The dialect's text, pretty and stable. The tree is made ready for it: names are quoted, NOT is moved."""
    negations = []
    for node in ast.walk():
        if isinstance(node, exp.Identifier):
            node.args["quoted"] = not is_plain(node.name, dialect)
        elif isinstance(node, exp.Not) and isinstance(node.this, exp.In | exp.Like):
            negations.append(node)
    for negation in negations:  # `x NOT IN (...)`, where sqlglot would put the NOT before x
        inner = negation.this
        inner.set("this", exp.Var(this=f"{inner.this.sql(dialect)} NOT"))
        negation.replace(inner)
    return ast.sql(dialect, pretty=True, max_text_width=60, copy=False)


@cache
def quoted(name: str, dialect: Dialect) -> str:
    """The name, in the dialect's quotes where it needs them."""
    if is_plain(name, dialect):
        return name
    mark = "`" if dialect == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark


def identifier(name: str) -> exp.Identifier:
    return exp.Identifier(this=name)


def column(name: str, table: str | None = None) -> exp.Column:
    return exp.Column(this=identifier(name), table=identifier(table) if table else None)


def literal(value: object) -> exp.Expr:
    """5000.0 is written 5000."""
    if isinstance(value, str):
        return exp.Literal.string(value)
    return exp.convert(int(value) if isinstance(value, float) and value.is_integer() else value)


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A function as it is written, which no dialect changes."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def rounded(expression: exp.Expr, decimals: int | None) -> exp.Expr:
    return expression if decimals is None else call("ROUND", expression, literal(decimals))


def divided(dividend: exp.Expr, divisor: exp.Expr) -> exp.Div:
    """Of numbers one of which is no integer."""
    return exp.Div(this=dividend, expression=divisor, typed=True)


def percent(part: exp.Expr, whole: exp.Expr, decimals: int) -> exp.Expr:
    """`100.0 *` makes it no integer division in any dialect."""
    return rounded(divided(exp.Mul(this=exp.Literal.number("100.0"), expression=part), whole), decimals)


Frame = int | Literal["running", "whole"] | None


def window(
    function: exp.Expr, partition: Iterable[exp.Expr], order: list[exp.Ordered], frame: Frame = None
) -> exp.Window:
    """`frame`: so many preceding rows and the current one, all up to it, all there are, or none stated."""
    spec = None
    if frame is not None:
        start: str | exp.Expr = literal(frame) if isinstance(frame, int) else "UNBOUNDED"
        end = {"end": "UNBOUNDED", "end_side": "FOLLOWING"} if frame == "whole" else {"end": "CURRENT ROW"}
        spec = exp.WindowSpec(kind="ROWS", start=start, start_side="PRECEDING", **end)
    return exp.Window(
        this=function, partition_by=list(partition), order=exp.Order(expressions=order) if order else None, spec=spec
    )


def table(name: str, alias: str | None = None) -> exp.Table:
    return exp.Table(
        this=identifier(name), alias=exp.TableAlias(this=identifier(alias)) if alias and alias != name else None
    )


def negate(expression: exp.Expr, negated: bool) -> exp.Expr:
    return exp.Not(this=expression) if negated else expression
