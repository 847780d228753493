"""Worlds of a length: as many rows of a table as a context has room for, and the records that they are written as."""

from collections.abc import Iterator
from itertools import chain, islice
from random import Random
from typing import NamedTuple

from generators.long_context.context import Piece, TokenCounter
from generators.long_context.tables import people
from generators.long_context.tables.layouts import Layout
from generators.long_context.tables.table import Row, Table, World
from gristmill import Reject
from gristmill.personas import Persona

BATCH, SPARE = 4, 16
"""Rows that are made at once, and how many more there are to choose the last ones from."""

SMALL = 8192
"""Tokens below which each sector has one company."""


class Records(NamedTuple):
    """A world, and its records as pieces: those of the table, then those of the second one."""

    world: World
    pieces: list[Piece]
    second: list[Piece]
    heads: list[Piece]


def people_world(crowd: Iterator[Persona], tokens: int, layout: Layout, counter: TokenCounter, rng: Random) -> Records:
    """As many people as fit. Reject where the dataset has too few."""
    employers = people.companies(rng, 1 if tokens < SMALL else 2)
    mentors: list[str] = []
    stream = people.rows(crowd, employers, mentors, rng)
    first = next(stream, None)
    if first is None:
        raise Reject("records", "too_few", "no person has a name and an occupation")
    known = {name for name, value in first.items() if value is not None} | {"mentor"}
    table = Table("person", "people", people.columns(rng, known), [])
    return _filled(table, employers, chain([first], stream), tokens, layout, counter, mentors)


def table_world(table: Table, tokens: int, layout: Layout, counter: TokenCounter, rng: Random) -> Records:
    """As many rows of the user's table as fit, a new choice for each context. Reject where it has too few."""
    order = rng.sample(range(len(table.rows)), len(table.rows))
    empty = Table(table.noun, table.nouns, table.columns, [])
    return _filled(empty, None, (table.rows[place] for place in order), tokens, layout, counter, [])


def _filled(
    table: Table,
    second: Table | None,
    rows: Iterator[Row],
    tokens: int,
    layout: Layout,
    counter: TokenCounter,
    certain: list[str],
) -> Records:
    """Takes rows until the context is full; of the last two batches and some spare ones those that leave least over.

    `certain` grows by the keys of the rows that stay in any case: only to those may other rows lead.
    """

    def pieces(of: Table, some: list[Row]) -> list[Piece]:
        texts = [layout.write(of, row) for row in some]
        counted = counter.pieces_by_word(texts, layout.separator)
        return [Piece(text + layout.separator, tokens) for text, tokens in counted]

    tables = [table] if second is None else [table, second]
    heads = [_head(one, layout, counter) for one in tables] if layout.head else []
    others = pieces(second, second.rows) if second else []
    left = tokens - sum(piece.tokens for piece in [*heads, *others])
    batches: list[list[tuple[Row, Piece]]] = []
    while left > 0:
        if len(batches) > 2:
            certain += [str(row[table.key]) for row, _ in batches[-3]]
        batch = list(islice(rows, BATCH))
        if not batch:
            count = sum(map(len, batches))
            raise Reject("records", "too_few", f"{count} rows leave {left} of {tokens} tokens empty")
        batches.append(list(zip(batch, pieces(table, batch), strict=True)))
        left -= sum(piece.tokens for _, piece in batches[-1])
    pool = [pair for batch in batches[-2:] for pair in batch]
    kept = [pair for batch in batches[:-2] for pair in batch]
    spare = list(islice(rows, SPARE))
    room = left + sum(piece.tokens for _, piece in pool)
    pool += zip(spare, pieces(table, spare), strict=True)
    chosen = _best_subset([piece.tokens for _, piece in pool], room)
    kept += [pool[place] for place in chosen]
    world = World(Table(table.noun, table.nouns, table.columns, [row for row, _ in kept]), second)
    return Records(world, [piece for _, piece in kept], others, heads)


def _best_subset(sizes: list[int], room: int) -> list[int]:
    """Places of the sizes whose sum comes nearest to the room without exceeding it."""
    reached: dict[int, list[int]] = {0: []}
    for place, size in enumerate(sizes):
        reached |= {
            total + size: [*places, place]
            for total, places in reached.items()
            if total + size <= room and total + size not in reached
        }
    return reached[max(reached)]


def _head(table: Table, layout: Layout, counter: TokenCounter) -> Piece:
    assert layout.head is not None
    text = layout.head(table)
    return Piece(text + layout.separator, counter.pieces([text], layout.separator)[0].tokens)
