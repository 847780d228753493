"""Questions about many records: people and the companies they work for, or the rows of the user's table.

    context    Jan Gheorghiu: the date of birth is 4 May 1964, the employer is Rowan Freight ...    (and hundreds more)
    question   "Among all people whose employer is a company founded before 1950, which has the highest salary?"
    answer     the result of SQL over the same rows; `metadata.sql` is the query

A template (templates/) draws what it needs of the world at hand, SQL gives the answer, and a template whose answer
isn't one thing, or a trivial one, is drawn anew. The trace lists the records that the answer rests on, with the columns
that are read.

Source: Nemotron 3 Super report (arXiv 2604.12374), long context: persona records, ground truth by SQL.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from generators.long_context.answers import Value, as_json, draw_format, write_answer
from generators.long_context.context import Depth, Piece, TokenCounter, band_places
from generators.long_context.tables.crowd import Crowd
from generators.long_context.tables.draw import Ask, Draw, Unsuited
from generators.long_context.tables.layouts import LAYOUTS, Layout
from generators.long_context.tables.table import Table, quoted
from generators.long_context.tables.templates import FAMILIES
from generators.long_context.tables.trace import write_trace
from generators.long_context.tables.worlds import Records, people_world, table_world
from generators.long_context.wording import asked
from gristmill import Reject
from schemas import JsonObject

DRAWS = 60
"""How often a template is drawn before its task is given up."""

CANDIDATES = 5
"""Counts drawn before one is chosen: that nearest to a random number, so that small ones don't prevail."""

LARGEST_COUNT = 45

QUESTION_TOKENS = 50
"""What is left for the question: the context is made before it is known."""

DRAWN_WORDINGS = 8
"""So many wordings are drawn until one fits within 1 % of the length; else the nearest one is taken."""

LEADS = (
    "Here are the records of a register. Answer the question below them.",
    "The following records are complete. A question about them comes at the end.",
    "Read these records; they stand in no particular order.",
    "Below is an export of our data, and after it what I would like to know.",
    "I have copied a set of records here. My question follows.",
    "These records are all that is known.",
)


class Told(NamedTuple):
    """A question in its context; `offsets` are the tokens at which the records that matter begin."""

    lead: str
    context: str
    tokens: int
    question: str
    trace: str
    answer: str
    value: Value
    ask: Ask
    template: str
    format: str
    layout: str
    offsets: list[int]

    def metadata(self) -> JsonObject:
        """What is known of a record besides its text."""
        return {
            "template": self.template, "layout": self.layout, "sql": self.ask.sql, "format": self.format,
            "answer": as_json(self.value),
        }  # fmt: skip


def ask(family: str, length: int, depth: Depth, source: Table | Crowd, counter: TokenCounter, rng: Random) -> Told:
    """A question of a family over a context of its own, `length` tokens together: rows of the table, or people."""
    lead, name = rng.choice(LEADS), rng.choice(list(LAYOUTS))
    layout, whole = LAYOUTS[name], length - counter.count_by_word(f"{lead}\n\n")
    room = whole - QUESTION_TOKENS
    if isinstance(source, Table):
        records = table_world(source, room, layout, counter, rng)
    else:
        records = people_world(source.stream(rng), room, layout, counter, rng)
    left = whole - sum(piece.tokens for piece in [*records.heads, *records.pieces, *records.second])
    return tell(family, records, name, depth, lead, (left, length // 100), counter, rng)


# --- questions --------------------------------------------------------------------------------------------------------


def tell(
    family: str, records: Records, layout: str, depth: Depth, lead: str, room: tuple[int, int], counter: TokenCounter,
    rng: Random,
) -> Told:  # fmt: skip
    """A question of the family over the records, in a context where what matters stands at the depth. `room` are the
    tokens that are left for the question, and how many more or fewer it may have."""
    draw = Draw(records.world, rng)
    try:
        template, ask, value, keys = _ask(draw, family, rng)
        wanted = {*keys, *_second_keys(draw, ask)}
        context, tokens, offsets, read = _placed(records, wanted, LAYOUTS[layout], depth, rng)
        trace = write_trace(draw, ask, read, value, rng)
    finally:
        draw.close()
    form, instruction = draw_format(value, rng)
    question = _fitting((asked(ask.question, instruction, rng) for _ in range(DRAWN_WORDINGS)), room, counter)
    return Told(
        lead, context, tokens, question, trace, write_answer(value, form), value, ask,
        f"{family}/{template}", form, layout, offsets,
    )  # fmt: skip


def _fitting(drawn: Iterator[str], room: tuple[int, int], counter: TokenCounter) -> str:
    """The first of the wordings that fits, so that no length of question prevails; else the nearest."""
    left, slack = room
    gaps: dict[str, int] = {}
    for text in drawn:
        gaps[text] = abs(counter.count_by_word(text) - left)
        if gaps[text] <= slack:
            return text
    return min(gaps, key=gaps.__getitem__)


def _ask(draw: Draw, family: str, rng: Random) -> tuple[str, Ask, Value, list[str]]:
    """A template of the family, what it asks, the answer and the keys of the rows that matter."""
    templates = FAMILIES[family]
    target = rng.randint(2, max(3, min(LARGEST_COUNT, 3 * len(draw.table.rows) // 4)))
    counts = []
    for name in rng.sample(list(templates), len(templates)):
        for _ in range(DRAWS):
            try:
                ask = templates[name](draw)
                value, keys = draw.answer(ask), draw.evidence(ask)
            except Unsuited:
                continue
            if not _counts(ask):
                return name, ask, value, keys
            if isinstance(value, int) and value > 1:
                counts.append((name, ask, value, keys))
            if len(counts) == CANDIDATES:
                break
        if counts:
            return min(counts, key=lambda one: abs(one[2] - target))
    raise Reject("records", "unsuited", f"no template of {family} finds what it needs in {len(draw.table.rows)} rows")


def _counts(ask: Ask) -> bool:
    return ask.kind == "one" and ask.sql.startswith("SELECT count(")


def _second_keys(draw: Draw, ask: Ask) -> list[str]:
    """Keys of the second table's rows that the answer rests on."""
    links = [column for column in draw.table.columns if column.link == "second" and column.name in ask.shows]
    if not links or " c " not in f"{ask.sql} ":
        return []
    found = draw.query(
        f"SELECT DISTINCT {quoted(links[0].name)} FROM t WHERE {ask.followed or ask.evidence} ORDER BY 1"
    )
    return [row[0] for row in found if row[0] is not None]


def _placed(
    records: Records, wanted: set[str], layout: Layout, depth: Depth, rng: Random
) -> tuple[str, int, list[int], list[str]]:
    """The context: records in a random order, those that matter within the band. Its text and tokens, and where those
    that matter begin, with their keys."""
    world = records.world
    tables = [(world.table, records.pieces), *([(world.second, records.second)] if world.second else [])]
    labelled = [
        [(str(row[table.key]), piece) for row, piece in zip(table.rows, pieces, strict=True)]
        for table, pieces in tables
    ]
    sections = [[one for section in labelled for one in section]] if layout.mixed else labelled
    texts, offsets, read, tokens = [], [], [], 0
    for position, section in enumerate(sections):
        if records.heads:
            texts.append(("\n" if position else "") + records.heads[position].text)
            tokens += records.heads[position].tokens
        for key, piece in _ordered(section, wanted, depth, rng):
            if key in wanted:
                offsets.append(tokens)
                read.append(key)
            texts.append(piece.text)
            tokens += piece.tokens
    return "".join(texts).rstrip("\n"), tokens, offsets, read


def _ordered(section: list[tuple[str, Piece]], wanted: set[str], depth: Depth, rng: Random) -> list[tuple[str, Piece]]:
    rng.shuffle(section)
    matter = [one for one in section if one[0] in wanted]
    places = set(band_places(len(matter), len(section), depth, rng))
    relevant, others = iter(matter), iter([one for one in section if one[0] not in wanted])
    return [next(relevant if place in places else others) for place in range(len(section))]
