"""What can be said of a query before any engine sees it: that it is one statement, reads only, and leaves nothing to
chance; and, once the tables are known, that its names are theirs.

    parsed = read_query("SELECT city FROM branch WHERE opened_on < CURRENT_DATE", "sqlite", clock=datetime(2024, 5, 1))
    parsed.text                                  "SELECT city FROM branch WHERE opened_on < '2024-05-01'"
    check_names(parsed, {"branch": ["city", "opened_on"]}, "sqlite")         {"branch"}: the tables it uses

Everything here is cheap and may be outwitted; what must not happen is prevented by the engines.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from judges.sql_clock import frozen, is_clock
from judges.sql_world import Dialect, Refuted, brief, comments, first_word, statements

N = TypeVar("N", bound=exp.Expr)

_CHANGES = re.compile(r"alter|create|delete|drop|insert|merge|replace|truncate|update")
_SERVICE = re.compile(
    r"analyze|attach|begin|binlog|cache|call|change|checkpoint|checksum|close|cluster|comment|commit|copy|deallocate|"
    r"declare|desc|describe|detach|discard|do|end|execute|explain|fetch|flush|grant|handler|import|install|kill|listen|"
    r"load|lock|move|notify|optimize|pragma|prepare|purge|reassign|refresh|reindex|release|rename|repair|reset|revoke|"
    r"rollback|savepoint|security|set|show|shutdown|signal|start|unlisten|unlock|use|vacuum|xa"
)
_WRITING = (
    exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, exp.Command,
    exp.Into, exp.Lock, exp.Copy,
)  # fmt: skip
_RANDOM_NODES = (exp.Rand, exp.Randn, exp.Uuid)
_RANDOM = re.compile(r"gen_random_uuid|random_bytes|random_normal|randomblob|setseed|uuid_short")
_OUTSIDE: dict[Dialect, re.Pattern[str]] = {
    "sqlite": re.compile(
        r"load_extension|readfile|writefile|edit|fsdir|zipfile|shell_\w+|fts3_tokenizer|pragma_\w+|sqlite_\w+|"
        r"(total_)?changes|last_insert_rowid"
    ),
    "postgres": re.compile(
        r"pg_(?!typeof$)\w+|lo_\w+|loread|lowrite|dblink\w*|set_config|current_setting|\w+_to_xml\w*|txid_\w+|"
        r"(next|set|curr|last)val|inet_\w+|version"
    ),
    "mysql": re.compile(
        r"sleep|benchmark|load_file|\w+_lock|release_all_locks|\w+_wait|wait_\w+|gtid_\w+|sys_\w+|(next|set|last)val|"
        r"version|connection_id|last_insert_id|row_count|found_rows|set_var|max_execution_time|resource_group"
    ),
}
"""Functions that reach the machine, other sessions, or the state of this one."""

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # else it warns of each statement that it doesn't take apart


@dataclass(frozen=True)
class Parsed:
    """A statement as it is run, its tree, all of its nodes, and the moment at which its clocks stand, if it has any."""

    text: str
    tree: exp.Expr
    nodes: list[exp.Expr]
    clock: datetime | None = None

    def of(self, *kinds: type[N]) -> list[N]:
        return [node for node in self.nodes if isinstance(node, kinds)]


def read_query(query: str, dialect: Dialect, *, writes: bool = False, clock: datetime | None = None) -> Parsed:
    """Refuted: several_statements, not_a_query, not_read_only, unparsed, forbidden, random, depends_on_now or
    limit_without_order.
    """
    found = statements(query, dialect)
    if len(found) != 1:
        raise Refuted("several_statements" if found else "not_a_query", f"{len(found)} statements, expected one")
    statement = found[0]
    if dialect == "mysql" and any(comment.startswith(("/*!", "/*M!")) for comment in comments(statement, dialect)):
        raise Refuted("forbidden", "a comment that the server executes")
    _check_verb(statement, dialect, writes)
    tree = _parsed(statement, dialect)
    nodes = list(tree.walk())
    for node in nodes:
        _check_node(node, dialect, writes)
    if not writes and not isinstance(tree, exp.Query | exp.Values):
        raise Refuted("not_a_query", f"{tree.key.upper()} is no query: {brief(statement)}")
    if not any(is_clock(node, dialect) for node in nodes):
        return Parsed(statement, tree, nodes)
    if clock is None:
        raise Refuted("depends_on_now", "a result that changes from day to day proves nothing")
    stopped = frozen(tree, clock, dialect)
    return Parsed(stopped.sql(dialect), stopped, list(stopped.walk()), clock)


def _check_verb(statement: str, dialect: Dialect, writes: bool) -> None:
    verb = first_word(statement, dialect)
    if _SERVICE.fullmatch(verb) or (_CHANGES.fullmatch(verb) and not writes):
        raise Refuted("not_read_only", f"{verb.upper()} is not allowed")


def _parsed(statement: str, dialect: Dialect) -> exp.Expr:
    try:
        trees = sqlglot.parse(statement, dialect=dialect)
    except (SqlglotError, RecursionError) as error:
        raise Refuted("unparsed", brief(str(error) or "nested too deeply")) from None
    if len(trees) != 1 or trees[0] is None:
        raise Refuted("unparsed", f"read as {len(trees)} statements: {brief(statement)}")
    return trees[0]


def _check_node(node: exp.Expr, dialect: Dialect, writes: bool) -> None:
    if isinstance(node, exp.Identifier | exp.Column | exp.Literal):  # most nodes
        return
    if isinstance(node, _WRITING) and not (writes and not isinstance(node, exp.Into | exp.Copy)):
        raise Refuted("not_read_only", f"{node.key.upper()} is not allowed")
    if isinstance(node, exp.Parameter | exp.SessionParameter):
        raise Refuted("forbidden", f"{node.sql(dialect)} belongs to the session, not to the database")
    if isinstance(node, exp.Func):
        name = function_name(node)
        if isinstance(node, _RANDOM_NODES) or _RANDOM.fullmatch(name):
            raise Refuted("random", f"{name} gives another value each time")
        if _OUTSIDE[dialect].fullmatch(name):
            raise Refuted("forbidden", f"{name} reaches outside of the tables")
    if node.args.get("limit") and not writes and not _limit_is_harmless(node):
        raise Refuted("limit_without_order", "which rows come is left to chance: LIMIT without ORDER BY")


def function_name(node: exp.Func) -> str:
    return (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()


def _limit_is_harmless(node: exp.Expr) -> bool:
    """Ordered, or one row at most, or only asked whether there is any."""
    if node.args.get("order") or node.find_ancestor(exp.Exists):
        return True
    if not isinstance(node, exp.Select) or node.args.get("group"):
        return False
    aggregates = (found for item in node.expressions for found in item.find_all(exp.AggFunc))
    return any(not found.find_ancestor(exp.Window) for found in aggregates) or not node.args.get("from_")


# --- the context -----------------------------------------------------------------------------------------------------

_TELLS_TIME = re.compile(
    r"\b(now|current_\w+|curdate|curtime|sysdate|local_?time\w*|utc_\w+|unix_timestamp|\w+_timestamp|timeofday|today|"
    r"tomorrow|yesterday|julianday|unixepoch|strftime|(date|time|datetime)\s*\(\s*\))",
    re.IGNORECASE,
)


def loading(context: str, dialect: Dialect, clock: datetime | None) -> list[str]:
    """The statements of a context, their clocks stopped.

    Refuted `context` for a row whose values depend on the day on which it is loaded; a default of a column may.
    """
    return [
        _stopped(statement, dialect, clock) if _TELLS_TIME.search(statement) else statement
        for statement in statements(context, dialect)
    ]


def _stopped(statement: str, dialect: Dialect, clock: datetime | None) -> str:
    is_definition = first_word(statement, dialect) not in ("insert", "replace", "update")
    if clock is None and is_definition:
        return statement
    try:
        tree = _parsed(statement, dialect)
    except Refuted:  # no reason to refuse it: the engine may know better
        return statement
    if not any(is_clock(node, dialect) for node in tree.walk()):
        return statement
    if clock is None:
        raise Refuted("context", f"it depends on the day on which it is loaded in: {brief(statement)}")
    return frozen(tree, clock, dialect).sql(dialect)


# --- names -----------------------------------------------------------------------------------------------------------


def check_names(parsed: Parsed, tables: Mapping[str, list[str]], dialect: Dialect) -> set[str]:
    """The tables that the query uses. Refuted unknown_table or unknown_column for a name that can't be resolved.

    Only a doubtful name is put to sqlglot's optimizer, which knows the scopes: one that stands in no table, or that
    SQLite would take for a string where no table in its scope has it, as it is in double quotes. What sqlglot can't
    resolve although the names exist (a feature of the dialect that it doesn't know) is left to the engine.
    """
    known = {name.casefold(): name for name in tables}
    used: set[str] = set()
    for table in real_tables(parsed):
        if table.name.casefold() not in known or table.db not in ("", "public"):
            raise Refuted("unknown_table", f"{table.sql(dialect)} is not in the context")
        used.add(known[table.name.casefold()])
    nowhere, quoted = _standing_nowhere(parsed, tables), _bare_quoted(parsed) if dialect == "sqlite" else set()
    if nowhere or quoted:
        try:
            qualify(parsed.tree.copy(), schema=_schema(tables, dialect), dialect=dialect, quote_identifiers=False)
        except Exception as error:  # whatever it stumbles over
            unknown = nowhere or {name for name in quoted if name in str(error)}
            if unknown:
                fault = f"{', '.join(sorted(unknown))} can't be resolved ({brief(str(error))})"
                raise Refuted("unknown_column", fault) from None
    return used


def _schema(tables: Mapping[str, list[str]], dialect: Dialect) -> MappingSchema:
    """The catalog as sqlglot wants it: in SQLite, where letters' case doesn't count, in lower case."""
    spelt = str.lower if dialect == "sqlite" else str
    names: dict[str, object] = {
        spelt(table): {spelt(column): "unknown" for column in columns} for table, columns in tables.items()
    }
    return MappingSchema(names, dialect=dialect, normalize=False)


def real_tables(parsed: Parsed) -> list[exp.Table]:
    """Without the names that a WITH clause gives; functions in the place of a table are none."""
    given = {cte.alias.casefold() for cte in parsed.of(exp.CTE)}
    return [
        table
        for table in parsed.of(exp.Table)
        if isinstance(table.this, exp.Identifier)
        and (table.db or table.name.casefold() not in given or _own_source(table))
    ]


def _own_source(table: exp.Table) -> bool:
    """`WITH loan AS (SELECT ... FROM loan)`: inside a CTE that isn't recursive, its name is still the table's."""
    cte = table.find_ancestor(exp.CTE)
    while cte is not None and cte.alias.casefold() != table.name.casefold():
        cte = cte.find_ancestor(exp.CTE)
    return cte is not None and not (cte.parent and cte.parent.args.get("recursive"))


def _standing_nowhere(parsed: Parsed, tables: Mapping[str, list[str]]) -> set[str]:
    """Columns that no table has and nothing in the query names; none where a function in FROM may name more."""
    if any(not isinstance(table.this, exp.Identifier) for table in parsed.of(exp.Table)):
        return set()
    if parsed.of(exp.Lateral, exp.Unnest, exp.Explode):
        return set()
    known = {name.casefold() for table, columns in tables.items() for name in (table, *columns)}
    aliases = parsed.of(exp.TableAlias)
    known |= {alias.alias.casefold() for alias in (*parsed.of(exp.Alias, exp.CTE), *aliases)}
    known |= {column.name.casefold() for alias in aliases for column in alias.columns}
    return {
        column.name
        for column in parsed.of(exp.Column)
        if column.name.casefold() not in known
        and isinstance(column.this, exp.Identifier)
        and not (isinstance(column.parent, exp.Anonymous) and not column.this.quoted)  # a unit, such as MONTH
    }


def _bare_quoted(parsed: Parsed) -> set[str]:
    columns = (column.this for column in parsed.of(exp.Column) if not column.table)
    return {name.name for name in columns if isinstance(name, exp.Identifier) and name.quoted}
