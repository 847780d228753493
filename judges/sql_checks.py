"""What an engine must show of a query on a loaded context: see the order in `judges.sql_execution`.

Each check runs the query again on a database that differs in one respect, and compares the rows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from judges.sql_engine import Columns, Database, Limits
from judges.sql_text import Parsed, check_names, real_tables
from judges.sql_world import Dialect, Refuted, Row, SQLWorld, comparable

SEEDS = (1, 2, None)
"""Two choices of half of the rows, and no rows at all."""


_COUNTING_ROWS = (exp.RowNumber, exp.Ntile, exp.Lag, exp.Lead)
"""Functions of a window whose values depend on which of two tied rows comes first."""


@dataclass(frozen=True)
class Outcome:
    """What a proved query returns. `ordered`: its rows can come in one order only."""

    columns: Columns
    rows: list[Row]
    ordered: bool
    engine: str


def check_query(database: Database, world: SQLWorld, parsed: Parsed, limits: Limits, *, may_be_empty: bool) -> Outcome:
    """Every check of a query that reads; Refuted at the first that fails."""
    used = check_names(parsed, database.tables(), world.dialect)
    columns, rows = database.run(parsed.text)
    _check_content(rows, may_be_empty)
    expected = comparable(rows)
    ordered = _check_stable(database, parsed, used, world.dialect, len(columns), expected)
    _check_distractors(database, world, parsed.text, ordered, expected)
    for table in sorted(used):
        _check_used(database, table, parsed.text, expected)
    if limits.sensitivity and rows:
        _check_sensitive(database, used, parsed.text, expected)
    return Outcome(columns, rows, ordered, _engine(database, parsed))


def _engine(database: Database, parsed: Parsed) -> str:
    """What the proof holds on: the engine, and the moment of its clock where the query asks for one."""
    return database.version if parsed.clock is None else f"{database.version}, clock at {parsed.clock}"


def _check_content(rows: list[Row], may_be_empty: bool) -> None:
    if not rows and not may_be_empty:
        raise Refuted("no_rows", "the query returns nothing")
    if rows and all(value is None for row in rows for value in row):
        raise Refuted("trivial_result", "the query returns only NULL")
    if len(rows) == 1 and len(rows[0]) == 1 and not isinstance(rows[0][0], str | bytes) and rows[0][0] == 0:
        raise Refuted("trivial_result", "the query returns a single 0")


def _check_stable(
    database: Database, parsed: Parsed, used: set[str], dialect: Dialect, width: int, expected: list[Row]
) -> bool:
    """Whether the rows have an order; Refuted where another run, scan or break of ties gives other rows."""
    broken = (rows_of(database, text) for text in with_ties_broken(parsed, width, dialect))
    runs = [run for run in broken if run is not None]
    if any(Counter(run) != Counter(expected) for run in runs):
        raise Refuted("ties", "rows are tied, and which of them comes first is left to chance")
    runs.append(_again(database, parsed.text, "unstable"))
    with database.backwards(used):
        runs.append(_again(database, parsed.text, "unstable"))
    if any(Counter(run) != Counter(expected) for run in runs):
        raise Refuted("unstable", "the rows depend on the order in which the tables are read")
    return bool(parsed.tree.args.get("order")) and all(run == expected for run in runs)


def with_ties_broken(parsed: Parsed, width: int, dialect: Dialect, *, ordered: bool = False) -> Iterator[str]:
    """The query with more to order by, up and down, where ties may matter: at its limit, in windows that count rows,
    and everywhere where the order of the rows counts.

    Each is one of the answers that the query leaves open.
    """
    limited = bool(parsed.tree.args.get("order") and (ordered or parsed.tree.args.get("limit")))
    if not limited and not any(isinstance(window.this, _COUNTING_ROWS) for window in parsed.of(exp.Window)):
        return
    for descending in (False, True):
        tree = parsed.tree.copy()
        if limited:
            places = (exp.Literal.number(place) for place in range(1, width + 1))
            _order_further(tree, places, descending)
        for window in list(tree.find_all(exp.Window)):
            select = window.find_ancestor(exp.Select)
            if isinstance(window.this, _COUNTING_ROWS) and window.args.get("order") and select:
                columns = [item.unalias().copy() for item in select.expressions]
                _order_further(window, (item for item in columns if isinstance(item, exp.Column)), descending)
        yield tree.sql(dialect)


def _order_further(node: exp.Expr, keys: Iterable[exp.Expr], descending: bool) -> None:
    for key in keys:
        node.args["order"].append("expressions", exp.Ordered(this=key, desc=descending))


def _check_distractors(database: Database, world: SQLWorld, query: str, ordered: bool, expected: list[Row]) -> None:
    tables, columns = _claimed(database, world)
    if not tables and not columns:
        return
    with database.without(tables, columns):
        without = _again(database, query, "distractor_used")
    if without != expected if ordered else Counter(without) != Counter(expected):
        raise Refuted("distractor_used", "without the distractors the result is another one")


def _claimed(database: Database, world: SQLWorld) -> tuple[set[str], set[str]]:
    """The distractors by the names that the engine knows them by; Refuted where it doesn't."""
    tables = {name.casefold(): name for name in database.tables()}
    columns = {
        f"{table}.{column}".casefold(): f"{table}.{column}"
        for table, names in database.tables().items()
        for column in names
    }
    unknown = [name for name in world.distractor_tables if name.casefold() not in tables]
    unknown += [name for name in world.distractor_columns if name.casefold() not in columns]
    if unknown:
        raise Refuted("malformed", f"distractors that aren't in the context: {', '.join(unknown)}")
    return (
        {tables[name.casefold()] for name in world.distractor_tables},
        {columns[name.casefold()] for name in world.distractor_columns},
    )


def _check_used(database: Database, table: str, query: str, expected: list[Row]) -> None:
    with database.without({table}, ()):
        without = rows_of(database, query)
    if without is not None and Counter(without) == Counter(expected):
        raise Refuted("unused_table", f"the query names {table}, but gives the same rows without it")


def _check_sensitive(database: Database, used: set[str], query: str, expected: list[Row]) -> None:
    for seed in SEEDS:
        with database.thinned(used, seed):
            changed = rows_of(database, query)
        if changed is not None and Counter(changed) != Counter(expected):
            return
    raise Refuted("insensitive", "the result stays the same whatever rows the tables hold")


def _again(database: Database, query: str, reason: str) -> list[Row]:
    """The rows on a changed database; failing there is refuted with the given reason."""
    try:
        return comparable(database.run(query)[1])
    except Refuted as refuted:
        raise Refuted(reason, refuted.detail) from None


def rows_of(database: Database, query: str) -> list[Row] | None:
    """The rows on a changed database; None where the query fails there."""
    try:
        return comparable(database.run(query)[1])
    except Refuted:
        return None


# --- statements that write -------------------------------------------------------------------------------------------


def check_change(database: Database, world: SQLWorld, parsed: Parsed) -> Outcome:
    """The rows and columns that a statement adds and takes away, as rows ("+" or "-", table, kind, values ...)."""
    with database.written("") as state:
        before = Counter(comparable(state))
    after = _after(database, parsed.text)
    changes = _changes(before, after)
    if not changes:
        raise Refuted("no_effect", "the statement leaves everything as it was")
    if _after(database, parsed.text) != after:
        raise Refuted("unstable", "the same statement leaves something else the second time")
    _check_untouched(database, world, parsed, changes)
    return Outcome(["change", "table", "kind", "values"], changes, True, _engine(database, parsed))


def _after(database: Database, statement: str, missing: Iterable[str] = ()) -> Counter[Row]:
    with database.written(statement, missing=sorted(missing)) as state:
        return Counter(comparable(state))


def _changes(before: Counter[Row], after: Counter[Row]) -> list[Row]:
    added, gone = after - before, before - after
    return [
        *(("-", *row) for row in sorted(gone.elements(), key=repr)),
        *(("+", *row) for row in sorted(added.elements(), key=repr)),
    ]


def _check_untouched(database: Database, world: SQLWorld, parsed: Parsed, changes: list[Row]) -> None:
    """Without the distractor tables the change is the same, and the statement names no distractor column."""
    tables, columns = _claimed(database, world)
    targets = {table.name.casefold() for table in real_tables(parsed)}
    named = {column.name.casefold() for column in parsed.of(exp.Column)}
    for table, _, column in (name.rpartition(".") for name in columns):
        if table.casefold() in targets and column.casefold() in named:
            raise Refuted("distractor_used", f"the statement names {table}.{column}")
    if not tables:
        return
    try:
        with database.written("", missing=sorted(tables)) as state:
            before = Counter(comparable(state))
        after = _after(database, parsed.text, tables)
    except Refuted as refuted:
        raise Refuted("distractor_used", refuted.detail) from None
    if _changes(before, after) != changes:
        raise Refuted("distractor_used", "without the distractors the statement does something else")
