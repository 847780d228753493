"""What templates draw from: columns, rows and conditions of a world, and the answers that SQL gives on it.

    d.condition()     Condition("whose salary is above 3200", '"salary" > 3200')
    d.query("SELECT count(*) FROM t WHERE ...")

The table is `t` in SQL, the second one `c`. A template that doesn't find what it needs raises Unsuited and is drawn
anew.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Literal, NamedTuple

import duckdb
import pyarrow as pa

from generators.long_context.answers import Value
from generators.long_context.tables.table import Cell, Column, Kind, Row, Table, World, literal, quoted, written
from generators.long_context.wording import vary

AnswerKind = Literal["one", "list", "mapping", "yes_no"]
MOST_LISTED = 12
MOST_EVIDENCE = 60
"""Rows that a question may rest on: the trace goes through them."""

CANDIDATES = 3
"""Rows, or groups, that an extreme, a mean or a sum is taken over at least."""


_LETTERS = "'øłđðħæœəıþß', 'olddhaoeits'"
"""Letters of alphabets that others sort as these."""


class Unsuited(Exception):
    """A template that the drawn values don't suit."""


@dataclass(frozen=True)
class Condition:
    """`text` follows a noun; `sql` holds of a row of t (or of c)."""

    text: str
    sql: str
    column: Column


class Tally(NamedTuple):
    """What a reader keeps track of: `of` is SQL on a row, empty (or false) for one that adds nothing."""

    how: Literal["count", "sum", "max", "min", "nearest"]
    of: str


@dataclass(frozen=True)
class Ask:
    """A question with its truth: `sql` gives the answer, `evidence` is what holds of the rows of t that it rests on,
    and `shows` are the columns that one has to read. `followed` holds of the rows from which one goes on to the second
    table, where that isn't all of them."""

    question: str
    sql: str
    evidence: str
    shows: list[str]
    kind: AnswerKind = "one"
    tally: Tally | None = None
    followed: str = ""


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """In memory, for the whole process: opening one costs more than a world's questions."""
    return duckdb.connect(config={"threads": 1})


class Draw:
    """One world, its tables the temporary ones of a connection of its own. Close it after use."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world, self.table, self.rng = world, world.table, rng
        self._database = _database().cursor()
        for name, table in (("t", world.table), ("c", world.second)):
            if table is not None:
                self._load(name, table)

    def _load(self, name: str, table: Table) -> None:
        data = pa.Table.from_pylist([{column.name: row[column.name] for column in table.columns} for row in table.rows])
        self._database.register(f"_{name}", data)
        self._database.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM _{name}")

    def close(self) -> None:
        self._database.close()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self._database.execute(sql).fetchall()

    def each(self, expression: str) -> dict[str, Any]:
        """What SQL gives for each row, by its key."""
        return dict(self.query(f"SELECT {self.key}, {expression} FROM t"))

    # --- words --------------------------------------------------------------------------------------------------------

    def say(self, text: str, **slots: object) -> str:
        """A wording with its slots filled; {noun} and {nouns} are the table's."""
        return vary(text, self.rng).format(noun=self.table.noun, nouns=self.table.nouns, **slots)

    def tie_rule(self) -> str:
        return self.say(
            "[[Ties go|In a tie, the place goes] to the {name} that comes first in the alphabet|Equal ones are ordered "
            "by {name}, from A to Z|Ties are broken by {name}, alphabetically].",
            name=self.table.columns[0].label,
        )  # fmt: skip

    @property
    def key(self) -> str:
        return quoted(self.table.key)

    # --- SQL ----------------------------------------------------------------------------------------------------------

    def ranked(self, column: Column, where: str, down: bool, limit: str) -> str:
        """The rows under a condition by a column, with the tie rule."""
        return self._ordered(where, f"{quoted(column.name)} {'DESC' if down else 'ASC'}, ", limit)

    def listed(self, where: str) -> str:
        """The rows under a condition, in alphabetical order."""
        return self._ordered(where)

    def _ordered(self, where: str, before: str = "", limit: str = "") -> str:
        """Unsuited where alphabets disagree: on accents, or on the place of letters like ø, ł and ə."""
        start = f"SELECT {self.key} FROM t WHERE {where} ORDER BY {before}"
        bare = f"lower(strip_accents({self.key}))"
        orders = [f"{start}{by} {limit}".rstrip() for by in (bare, f"translate({bare}, {_LETTERS})", self.key)]
        if any(self.query(one) != self.query(orders[0]) for one in orders[1:]):
            raise Unsuited
        return orders[0]

    # --- what makes a question worth asking ---------------------------------------------------------------------------

    def counts(self, *wheres: str) -> list[int]:
        """How many rows meet each of the conditions."""
        each = ", ".join(f"count(*) FILTER (WHERE {where})" for where in wheres)
        return [*self.query(f"SELECT {each} FROM t")[0]]

    def several(self, where: str) -> None:
        """Unsuited where fewer rows than CANDIDATES meet a condition: a choice among them is none."""
        if self.counts(where)[0] < CANDIDATES:
            raise Unsuited

    def matters(self, where: str, *without: str) -> None:
        """Unsuited where as many rows meet a condition without one of its parts: nobody would have to read that."""
        found, *others = self.counts(where, *without)
        if found in others:
            raise Unsuited

    @staticmethod
    def without(where: str, *left_out: str) -> str:
        """The rows under the first condition that meet none of the others; an empty cell meets none."""
        return " AND ".join([where, *(f"({one}) IS NOT TRUE" for one in left_out)])

    # --- columns and rows ---------------------------------------------------------------------------------------------

    def column(self, kind: Kind, *besides: Column, table: Table | None = None) -> Column:
        """One that is no link (those belong to the joins), and that the ones besides tell nothing of."""
        kin = {one.kin for one in besides} - {""}
        found = [
            one
            for one in (table or self.table).columns
            if one.kind == kind and not one.link and one not in besides and one.kin not in kin
        ]
        if not found:
            raise Unsuited
        return self.rng.choice(found)

    def link(self, to: str) -> Column:
        found = [one for one in self.table.columns if one.link == to]
        if not found:
            raise Unsuited
        return self.rng.choice(found)

    def row(self, where: Column | None = None) -> Row:
        """A row, where the column isn't empty."""
        found = [row for row in self.table.rows if where is None or row[where.name] is not None]
        if not found:
            raise Unsuited
        return self.rng.choice(found)

    def two(self, *filled: Column) -> tuple[Row, Row]:
        found = [row for row in self.table.rows if all(row[column.name] is not None for column in filled)]
        if len(found) < 2:
            raise Unsuited
        one, other = self.rng.sample(found, 2)
        return one, other

    def values(self, column: Column, least: int = 1, table: Table | None = None) -> list[Cell]:
        """Values that at least so many rows have, in the order of the rows."""
        counts = Counter(row[column.name] for row in (table or self.table).rows)
        return [value for value, count in counts.items() if value is not None and count >= least]

    # --- conditions ---------------------------------------------------------------------------------------------------

    def condition(self, *besides: Column, kinds: tuple[Kind, ...] = ("category", "number", "date"),
                  table: Table | None = None) -> Condition:  # fmt: skip
        return self.of(self.column(self.rng.choice(kinds), *besides, table=table), table=table)

    def of(self, column: Column, how: str = "", table: Table | None = None) -> Condition:
        """A condition on a column that some rows meet and some don't."""
        name = quoted(column.name)
        if column.kind == "category":
            common = self.values(column, 2, table) or self.values(column, 1, table)
            if len(common) < 2:
                raise Unsuited
            value, other = self.rng.sample(common, 2)
            how = how or "eq"
            sql = {
                "eq": f"{name} = {literal(value)}", "ne": f"{name} IS DISTINCT FROM {literal(value)}",
                "in": f"{name} IN ({literal(value)}, {literal(other)})",
            }[how]  # fmt: skip
        else:
            known = sorted(value for row in (table or self.table).rows if (value := row[column.name]) is not None)
            if len(set(known)) < 4:
                raise Unsuited
            low, high = sorted(self.rng.sample(range(len(known)), 2))
            value, other = known[low], known[high]
            if value == other:
                raise Unsuited
            more, less = ("above", "below") if column.kind == "number" else ("after", "before")
            how = how or self.rng.choice((more, less))
            sql = {
                more: f"{name} > {literal(value)}", less: f"{name} < {literal(value)}",
                "between": f"{name} BETWEEN {literal(value)} AND {literal(other)}",
            }[how]  # fmt: skip
        text = vary(column.clause(how), self.rng).format(label=column.label, value=written(value), other=written(other))
        return Condition(text, sql, column)

    # --- answers ------------------------------------------------------------------------------------------------------

    def answer(self, ask: Ask) -> Value:
        """What SQL gives; Unsuited where that is nothing, or not one thing."""
        rows = self.query(ask.sql)
        if not rows or any(cell is None for row in rows for cell in row):
            raise Unsuited
        if ask.kind == "mapping":
            return {plain_cell(name): plain_cell(value) for name, value in rows}
        if ask.kind == "list":
            if not 2 <= len(rows) <= MOST_LISTED:
                raise Unsuited
            return [plain_cell(row[0]) for row in rows]
        if len(rows) != 1:
            raise Unsuited
        return ("yes" if rows[0][0] else "no") if ask.kind == "yes_no" else plain_cell(rows[0][0])

    def evidence(self, ask: Ask) -> list[str]:
        """Keys of the rows that the answer rests on; Unsuited where there are none or too many for a trace."""
        keys = [row[0] for row in self.query(f"SELECT {self.key} FROM t WHERE {ask.evidence}")]
        if not 1 <= len(keys) <= MOST_EVIDENCE:
            raise Unsuited
        return keys


# --- questions of three kinds -----------------------------------------------------------------------------------------


def counting(question: str, where: str, evidence: str, shows: list[str]) -> Ask:
    """How many rows are under a condition."""
    return Ask(question, f"SELECT count(*) FROM t WHERE {where}", evidence, shows, tally=Tally("count", where))


def adding(question: str, column: Column, where: str, evidence: str, shows: list[str]) -> Ask:
    """The sum of a column under a condition."""
    name = quoted(column.name)
    return Ask(
        question, f"SELECT sum({name}) FROM t WHERE {where}", evidence, shows, tally=Tally("sum", _under(where, name))
    )


def choosing(
    d: Draw, question: str, value: str, where: str, evidence: str, shows: list[str],
    how: Literal["max", "min", "nearest"] = "max",
) -> Ask:  # fmt: skip
    """The row under a condition with the largest (smallest) value. Unsuited where there is hardly a choice."""
    d.several(where)
    end = "max" if how == "max" else "min"
    sql = f"SELECT {d.key} FROM t WHERE {where} AND {value} = (SELECT {end}({value}) FROM t WHERE {where})"
    return Ask(question, sql, evidence, shows, tally=Tally(how, _under(where, value)))


def _under(where: str, value: str) -> str:
    return f"CASE WHEN {where} THEN {value} END"


def plain_cell(value: Any) -> Any:
    """Whole numbers without a point, days in words."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 1)
    return value if isinstance(value, int | str) else written(value)
