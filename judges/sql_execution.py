"""Execution as proof: a query is right about its database only if the engine says so, on a database built anew.

`prove` builds the record's context in memory, runs the query and takes the context apart:

- the rows load, foreign keys hold, and the query is one read-only statement that ends in time with some rows;
- nothing is left to chance: tables scanned backwards and ties broken the other way give the same rows;
- without the distractor tables and columns the result is the same (this proves that they are distractors);
- without any one of the other tables it is not.

The result lies in `metadata.sql` of a record, which the judge proves again from the last assistant message:

    {"dialect": "sqlite", "ddl": ["CREATE TABLE loan (...)", ...], "inserts": ["INSERT INTO loan VALUES ...", ...],
     "distractors": {"tables": ["card"], "columns": ["loan.status"]}, "query": "SELECT city, SUM(amount) ...",
     "columns": ["city", "total"], "ordered": true, "row_count": 5, "result": [["Ghent", 61200.5], ...],
     "hash": "9f31..."}

Source: Nemotron 3 Super report (arXiv 2604.12374), §3.1.1, where SQL records are only parsed and read by critics.
"""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Literal

import sqlglot
from pydantic import ValidationError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from gristmill import Context, Judge, Record, Verdict
from judges.sqlite_engine import Limits, Refuted, Row, SQLite, quoted
from schemas import Data, Json, content_hash

SAMPLE_ROWS = 10
"""How many rows of the result a record keeps; the hash covers all of them."""

_CLOCK = re.compile(
    r"""['"]now['"] | \b(date|time|datetime|julianday|unixepoch)\s*\(\s*\) | \bstrftime\s*\(\s*'[^']*'\s*\)""",
    re.IGNORECASE | re.VERBOSE,
)
"""How SQLite's date functions are asked for the present moment: by name, or by leaving the moment out."""


class Distractors(Data):
    """What the context holds and the query doesn't need. Columns are written `table.column`."""

    tables: list[str] = []
    columns: list[str] = []


class SQLWorld(Data):
    """A database for one question, as statements; `distractors` is a claim that `prove` checks."""

    dialect: Literal["sqlite"] = "sqlite"
    ddl: list[str]
    inserts: list[str]
    distractors: Distractors = Distractors()


class SQLProof(SQLWorld):
    """A world, a query and what the query returns there. `ordered`: its rows can come in one order only."""

    query: str
    columns: list[str]
    ordered: bool
    row_count: int
    result: list[list[Json]]
    hash: str


class SQLExecution(Judge[Limits]):
    """Proves the query of the last assistant message again; undecided where a record has no `metadata.sql`."""

    name = "sql_execution"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        if "sql" not in record.metadata:
            return Verdict(name=self.name, passed=None, reason="no_proof: the record has no metadata.sql")
        try:
            check_record(record, self.params)
        except Refuted as refuted:
            return Verdict(name=self.name, passed=False, score=0.0, reason=str(refuted))
        return Verdict(name=self.name, passed=True, score=1.0)


def check_record(record: Record, limits: Limits) -> None:
    """Refuted where the last assistant message doesn't give what `metadata.sql` says."""
    try:
        claim = SQLProof.model_validate(record.metadata["sql"])
    except ValidationError as error:
        first = error.errors()[0]
        raise Refuted("malformed", f"metadata.sql.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    replies = [message.content for message in record.messages if message.role == "assistant"]
    if not replies:
        raise Refuted("no_query", "the record has no assistant message")
    _, rows, _ = _checked(claim, query_in(replies[-1]), limits)
    if result_hash(rows, claim.ordered) != claim.hash or not _shows(claim, rows):
        recorded = f"recorded {claim.row_count} rows {claim.result[:3]}"
        raise Refuted("wrong_result", f"{len(rows)} rows {rows[:3]}, {recorded}")


def _shows(claim: SQLProof, rows: list[Row]) -> bool:
    """The recorded count and sample are those of the rows: their beginning, or any of them where they have no order."""
    shown, all_rows = comparable(claim.result), comparable(rows)
    if claim.row_count != len(rows) or len(shown) != min(len(rows), SAMPLE_ROWS):
        return False
    return shown == all_rows[: len(shown)] if claim.ordered else Counter(shown) <= Counter(all_rows)


def query_in(reply: str) -> str:
    """The query of the one fenced ```sql block in a reply."""
    blocks = re.findall(r"^```(?:sql|sqlite)[ \t]*\n(.*?)^```[ \t]*$", reply, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    if len(blocks) != 1:
        raise Refuted("several_queries" if blocks else "no_query", f"{len(blocks)} fenced sql blocks, expected one")
    return str(blocks[0]).strip()


def prove(world: SQLWorld, query: str, limits: Limits | None = None) -> SQLProof:
    """The proof that `query` holds on `world` in every respect of the module's docstring; else Refuted."""
    columns, rows, ordered = _checked(world, query, limits or Limits())
    return SQLProof(
        dialect=world.dialect,
        ddl=world.ddl,
        inserts=world.inserts,
        distractors=world.distractors,
        query=query,
        columns=columns,
        ordered=ordered,
        row_count=len(rows),
        result=[[_json(value) for value in row] for row in rows[:SAMPLE_ROWS]],
        hash=result_hash(rows, ordered),
    )


def result_hash(rows: Sequence[Row], ordered: bool) -> str:
    """Equal for equal results: floats to twelve digits, 2.0 as 2, and sorted unless the order counts."""
    plain = comparable(rows)
    return content_hash(plain if ordered else sorted(plain, key=repr))


def _checked(world: SQLWorld, query: str, limits: Limits) -> tuple[list[str], list[Row], bool]:
    """Columns, rows and whether they have an order, after every check."""
    if _CLOCK.search(query):
        raise Refuted("depends_on_now", "a result that changes from day to day proves nothing")
    with SQLite(world.ddl, world.inserts, limits) as engine:
        columns, rows = engine.run(query)
        if not any(value is not None for row in rows for value in row):
            raise Refuted("no_rows", "the query returns only NULL" if rows else "the query returns nothing")
        expected = comparable(rows)
        ordered = _check_stable(engine, query, len(columns), expected)
        _check_distractors(engine, query, world.distractors, ordered, expected)
        _check_used(engine, query, world.distractors, expected)
    return columns, rows, ordered


def _check_stable(engine: SQLite, query: str, width: int, expected: list[Row]) -> bool:
    """Whether the rows have an order; Refuted where another scan or another break of ties gives other rows."""
    with engine.changed():
        for table, columns in engine.tables().items():
            backwards = ", ".join(f"{number} DESC" for number in range(1, len(columns) + 1))
            engine.replace(table, f"SELECT * FROM {{}} ORDER BY {backwards} LIMIT -1")
        runs = [_again(engine, query, "unstable")]
    if Counter(runs[0]) != Counter(expected):
        raise Refuted("unstable", "the rows depend on the order in which the tables are read")
    tree = _parsed(query)
    if not tree.args.get("order"):
        return False
    if tree.args.get("limit"):
        runs += [_again(engine, _with_ties_broken(tree, width, descending), "ties") for descending in (False, True)]
    if any(Counter(run) != Counter(expected) for run in runs):
        raise Refuted("ties", "rows are tied at the limit, so which of them come is left to chance")
    return all(run == expected for run in runs)


def _check_distractors(engine: SQLite, query: str, claimed: Distractors, ordered: bool, expected: list[Row]) -> None:
    tables = engine.tables()
    known = {*tables, *(f"{table}.{column}" for table, columns in tables.items() for column in columns)}
    if unknown := [name for name in (*claimed.tables, *claimed.columns) if name not in known]:
        raise Refuted("malformed", f"distractors that aren't in the database: {', '.join(unknown)}")
    with engine.changed():
        for table, columns in tables.items():
            kept = [column for column in columns if f"{table}.{column}" not in claimed.columns]
            if table in claimed.tables:
                engine.drop(table)
            elif kept != columns:
                engine.replace(table, f"SELECT {', '.join(map(quoted, kept)) or 'NULL'} FROM {{}}")
        without = _again(engine, query, "distractor_used")
    if without != expected if ordered else Counter(without) != Counter(expected):
        raise Refuted("distractor_used", "without the distractors the result is another one")


def _check_used(engine: SQLite, query: str, claimed: Distractors, expected: list[Row]) -> None:
    for table in engine.tables().keys() - set(claimed.tables):
        without: list[Row] | None = None
        with engine.changed():
            engine.drop(table)
            with suppress(Refuted):
                without = comparable(engine.run(query)[1])
        if without is not None and Counter(without) == Counter(expected):
            raise Refuted("unused_table", f"the result is the same without {table}, which is no distractor")


def _again(engine: SQLite, query: str, reason: str) -> list[Row]:
    """The rows on a changed database; failing there is refuted with the given reason."""
    try:
        return comparable(engine.run(query)[1])
    except Refuted as refuted:
        raise Refuted(reason, refuted.detail) from None


def _parsed(query: str) -> exp.Expr:
    try:
        return sqlglot.parse_one(query, dialect="sqlite")
    except SqlglotError as error:
        raise Refuted("unparsed", " ".join(str(error).split())) from None


def _with_ties_broken(tree: exp.Expr, width: int, descending: bool) -> str:
    """The query ordered further by all its columns, so that rows which were tied come in another order."""
    changed = tree.copy()
    for number in range(1, width + 1):
        changed.args["order"].append("expressions", exp.Ordered(this=exp.Literal.number(number), desc=descending))
    return changed.sql("sqlite", copy=False)


def comparable(rows: Sequence[Sequence[Any]]) -> list[Row]:
    """Rows whose equality doesn't depend on the order in which numbers were added up."""
    return [tuple(_plain(value) for value in row) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and isfinite(value):
        rounded = float(f"{value:.12g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
    return _json(value)


def _json(value: Any) -> Json:
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not isfinite(value) else value
