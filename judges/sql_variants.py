"""Whether two queries say the same of other data, too: one that is wrong may give the right rows by luck.

    reference    SELECT name FROM city ORDER BY pop DESC LIMIT 1
    answer       SELECT name FROM city WHERE pop > 300000          the same row, until another city grows

Both are run on variants of the record's database: with about half of the rows to which no others belong, with the
values of each column dealt anew among its rows, with values at the edges that the queries name, and with values that
are new, or come twice. A variant that breaks a constraint says nothing, and neither does one on which rows are tied, or
for which the reference fails or finds nothing. What no variant shows stays unseen: this refutes, and proves nothing.

Source: Zhong, Yu and Klein 2020, Semantic Evaluation for Text-to-SQL with Distilled Test Suites (arXiv 2010.02840).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import Random

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from judges.sql_checks import SEEDS, rows_of, with_ties_broken
from judges.sql_engine import Database
from judges.sql_text import Parsed
from judges.sql_world import Dialect, Refuted, Row, SQLWorld, first_word, joined, statements

Open = Callable[[str], AbstractContextManager[Database]]
"""Loads a context."""
Edges = dict[str, list[exp.Expr]]
"""For a column's name the literals that the queries compare it with."""
Place = tuple[str, str]
"""A table and a column."""
Links = list[tuple[Place, Place]]
"""A column and the one that it refers to."""
Parts = list[str | exp.Expr]
"""The statements of a context, parsed where they define a table or hold rows of literals."""

ROUNDS = 3
"""Variants of each kind."""
LONGEST = 200_000
"""Characters of a context; a longer one takes too long to read and to load anew."""

_INEQUALITIES = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d?:\d\d")
_KEY = re.compile(r"(?i)(?:.*[_ ])?(?:id|key|code|no|nr|number)|[a-z]+Id")


@dataclass(slots=True)
class Column:
    """The values of a table's column, in the rows' order."""

    table: str
    name: str
    values: list[exp.Expr] = field(default_factory=list)


def check_elsewhere(open_database: Open, world: SQLWorld, reference: Parsed, answer: Parsed, *, ordered: bool) -> None:
    """Refuted `wrong_result` where the answer gives other rows on some variant. `ordered`: in the same order, too."""
    if len(world.context) > LONGEST:
        return
    parts = [_parsed(statement, world.dialect) or statement for statement in statements(world.context, world.dialect)]
    columns = _columns(parts)
    links = _links(columns)
    filled, referred = {column.table for column in columns}, {target for _, (target, _) in links}
    with open_database(world.context) as database:
        tables = {table: table.casefold() for table in database.tables()}
        free = [table for table, name in tables.items() if name not in referred]
        for seed in SEEDS if filled.issuperset(tables.values()) else ():  # a view would keep its rows
            with _or_nothing(), database.thinned(free, seed):
                _compare(database, world.dialect, reference, answer, ordered, "with fewer rows in the tables")
    for context in _variants(parts, links, world.dialect, _edges([reference.tree, answer.tree])):
        with _or_nothing(), open_database(context) as database:
            _compare(database, world.dialect, reference, answer, ordered, "with other values in the tables")


@contextmanager
def _or_nothing() -> Iterator[None]:
    """A variant that can't be made says nothing."""
    try:
        yield
    except Refuted as refuted:
        if refuted.reason == "wrong_result":
            raise


def _compare(
    database: Database, dialect: Dialect, reference: Parsed, answer: Parsed, ordered: bool, where: str
) -> None:
    wanted = rows_of(database, reference.text)
    if not wanted or all(value in (None, 0) for row in wanted for value in row):
        return
    given = rows_of(database, answer.text)
    if given is not None and _are_same(given, wanted, ordered):
        return
    for query, rows in ((reference, wanted), (answer, given)):
        for text in with_ties_broken(query, len(rows[0]) if rows else 0, dialect, ordered=ordered):
            if rows_of(database, text) not in (None, rows):
                return
    raise Refuted("wrong_result", f"{where} the answer gives {given and given[:3]}, metadata.sql.query {wanted[:3]}")


def _are_same(given: list[Row], wanted: list[Row], ordered: bool) -> bool:
    """Whether a sum of nothing is NULL or 0 is a question of taste."""
    one, other = ([tuple(0 if value is None else value for value in row) for row in rows] for rows in (given, wanted))
    return one == other if ordered else Counter(one) == Counter(other)


def _variants(parts: Parts, links: Links, dialect: Dialect, edges: Edges) -> Iterator[str]:
    """Contexts with other values, the same ones each time."""
    for number, change in enumerate(ROUNDS * (_deal, _put_edges, _put_new, _put_same, _add_rows)):
        copies = [part if isinstance(part, str) else part.copy() for part in parts]
        change(_columns(copies), links, edges, Random(number))
        yield joined([part if isinstance(part, str) else part.sql(dialect) for part in copies])


def _parsed(statement: str, dialect: Dialect) -> exp.Expr | None:
    """A table's definition, or rows of literals; None for what is to stay as it is."""
    if first_word(statement, dialect) not in ("create", "insert"):
        return None
    try:
        tree = sqlglot.parse_one(statement, dialect=dialect)
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Create) or isinstance(tree.args.get("expression"), exp.Values) else None


def _columns(parts: Parts) -> list[Column]:
    """Each column over all INSERTs of its table."""
    defined: dict[str, list[str]] = {}
    columns: dict[Place, Column] = {}
    for tree in (part for part in parts if not isinstance(part, str)):
        table, listed = tree.find(exp.Table), tree.this.expressions if isinstance(tree.this, exp.Schema) else []
        name = table.name.casefold() if table else ""
        if isinstance(tree, exp.Create):
            defined[name] = [part.name.casefold() for part in listed if isinstance(part, exp.ColumnDef)]
            continue
        names = [part.name.casefold() for part in listed] or defined.get(name, [])
        for row in tree.expression.expressions:
            for one, value in zip(names, row.expressions, strict=False):
                columns.setdefault((name, one), Column(name, one)).values.append(value)
    return list(columns.values())


def _links(columns: Sequence[Column]) -> Links:
    """Which columns refer to which: to one of another table that has all their values, each of them once."""
    told = [[value.sql() for value in column.values if not isinstance(value, exp.Null)] for column in columns]
    keys = [(column, {*values}) for column, values in zip(columns, told, strict=True) if len({*values}) == len(values)]
    return [
        ((column.table, column.name), (key.table, key.name))
        for column, values in zip(columns, told, strict=True)
        if values and column.name != "id" and (_KEY.fullmatch(column.name) or not column.values[0].is_number)
        for key, known in keys
        if key.table != column.table and known.issuperset(values)
    ]


def _edges(queries: Sequence[exp.Expr]) -> Edges:
    edges: Edges = defaultdict(list)
    for query in queries:
        for node in query.find_all(*_INEQUALITIES, exp.Between):
            sides = [node.this, *(node.args[key] for key in ("expression", "low", "high") if node.args.get(key))]
            for column in (side for side in sides if isinstance(side, exp.Column)):
                edges[column.name.casefold()] += [side for side in sides if isinstance(side, exp.Literal)]
    return edges


# --- changes ---------------------------------------------------------------------------------------------------------


def _deal(columns: list[Column], links: Links, edges: Edges, rng: Random) -> None:
    for column in columns:
        dealt = rng.sample([value.copy() for value in column.values], len(column.values))
        for value, other in zip(column.values, dealt, strict=True):
            value.replace(other)


def _put_edges(columns: list[Column], links: Links, edges: Edges, rng: Random) -> None:
    for column in _unlinked(columns, links):
        wanted = edges.get(column.name, [])[: len(column.values)]
        for value, edge in zip(rng.sample(column.values, len(wanted)), wanted, strict=True):
            value.replace(edge.copy())


def _put_new(columns: list[Column], links: Links, edges: Edges, rng: Random) -> None:
    for column in _unlinked(columns, links):
        if literals := _of_many_values(column):
            rng.choice(literals).replace(_new(literals))


def _put_same(columns: list[Column], links: Links, edges: Edges, rng: Random) -> None:
    """Half of the values are one; but texts that come once each may be names, and stay."""
    for column in _unlinked(columns, links):
        literals = _of_many_values(column)
        if literals and (literals[0].is_number or not _is_unique(column)):
            common, *others = rng.sample(literals, 1 + len(literals) // 2)
            for literal in others:
                literal.replace(common.copy())


def _add_rows(columns: list[Column], links: Links, edges: Edges, rng: Random) -> None:
    """To each table one to three copies of a row; what comes once each is new, and new rows belong to new ones."""
    new = {(column.table, column.name): column for column in columns if _is_unique(column) and column.values}
    targets = {source: target for source, target in links if target in new}
    for table in dict.fromkeys(column.table for column in columns):
        own = [column for column in columns if column.table == table]
        rows = own[0].values[-1].find_ancestor(exp.Values)
        for count in range(1, 1 + rng.randint(1, 3)):
            made: list[exp.Expr] = []
            for column in own:
                place = (table, column.name)
                unique = new.get(targets.get(place, place))
                times = count if place in new else 1
                made.append(_new(unique.values, times) if unique else rng.choice(column.values).copy())
            if rows:
                rows.append("expressions", exp.Tuple(expressions=made))


def _unlinked(columns: list[Column], links: Links) -> list[Column]:
    linked = {place for link in links for place in link}
    return [column for column in columns if (column.table, column.name) not in linked]


def _is_unique(column: Column) -> bool:
    return len({value.sql() for value in column.values}) == len(column.values)


def _of_many_values(column: Column) -> list[exp.Literal]:
    """The literals of a column; none where it is a key, or holds two values only, as a flag does."""
    literals = [value for value in column.values if isinstance(value, exp.Literal)]
    many = len({literal.this for literal in literals}) > 2 and not _KEY.fullmatch(column.name)
    return literals if many else []


def _new(values: Sequence[exp.Expr], times: int = 1) -> exp.Expr:
    """A number that is larger than all of them, a text that none is; but a date stays a date."""
    last = values[-1]
    if isinstance(last, exp.Literal) and last.is_string:
        return exp.Literal.string(last.this if _DATE.match(last.this) else last.this + times * "ish")
    numbers = [float(value.this) for value in values if isinstance(value, exp.Literal) and value.is_number]
    return exp.Literal.number(10 * int(max(numbers)) + 6 + times) if numbers else last.copy()
