"""The trace of a question about records: those that matter, as they are read, with what is kept track of.

Relevant people (3):
- Jan Gheorghiu: monthly salary 3140, country Romania – 3140 so far
- Sorin Albu: monthly salary 2700, country Romania – 5840 so far
- Ana Cozma: monthly salary 4110, country Romania – 9950 so far
Hence the answer is 9950.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from random import Random
from typing import Any

from generators.long_context.answers import Value, plain
from generators.long_context.tables.draw import Ask, Draw, Tally, plain_cell
from generators.long_context.tables.table import Column, Row, written
from generators.long_context.wording import vary

_HEADING = "[What matters here|The {nouns} that matter|Relevant {nouns}|I look at these {nouns}] ({count}):"
_ENDS = (
    "[So|Therefore|Hence] the answer is {answer}.",
    "[This|That] [gives|leads to|comes to] {answer}.",
    "[From these|With these], [I get|the result is] {answer}.",
    "[Result|The answer]: {answer}.",
)
_BEST = {
    ("max", False): "highest", ("min", False): "lowest", ("max", True): "latest", ("min", True): "earliest",
    ("nearest", False): "{} away, nearest",
}  # fmt: skip


def write_trace(draw: Draw, ask: Ask, read: list[str], value: Value, rng: Random) -> str:
    """`read` are the keys of the records that matter, of both tables, as they stand in the context."""
    table, second = draw.table, draw.world.second
    shown = [column for column in table.columns if column.name in ask.shows]
    rows = {str(row[table.key]): (row, shown) for row in table.rows}
    if second is not None:
        rows |= {str(row[second.key]): (row, second.columns[1:]) for row in second.rows}
    own = [key for key in read if second is None or rows[key][1] is shown]
    notes = dict(zip(own, _kept(ask.tally, draw.each(ask.tally.of), own), strict=True)) if ask.tally else {}
    return "\n".join([
        vary(_HEADING, rng).format(nouns=table.nouns, count=len(own)),
        *(f"- {key}: {_facts(*rows[key])}{notes.get(key, '')}" for key in read),
        vary(rng.choice(_ENDS), rng).replace("{answer}", plain(value)),
    ])  # fmt: skip


def _facts(row: Row, shown: list[Column]) -> str:
    return ", ".join(f"{column.label} {written(row[column.name])}" for column in shown)


def _kept(tally: Tally, of: Mapping[str, Any], read: list[str]) -> Iterator[str]:
    """What is kept track of, after each record; nothing after one that adds nothing."""
    so_far: Any = None
    for key in read:
        value = of[key]
        if value is None or value is False:
            yield ""
        elif tally.how in ("count", "sum"):
            so_far = (so_far or 0) + value
            yield f" – number {so_far}" if tally.how == "count" else f" – {plain_cell(so_far)} so far"
        elif so_far is None or (value > so_far if tally.how == "max" else value < so_far):
            so_far = value
            yield f" – {_BEST[tally.how, isinstance(value, date)]} so far".format(plain_cell(value))
        else:
            yield f" – {plain_cell(value)} away" if tally.how == "nearest" else ""
