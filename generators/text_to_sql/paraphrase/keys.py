"""What a question orders or compares by, as heard: a column, an aggregate of one, a count of rows, a month, a share."""

from collections.abc import Iterator
from dataclasses import dataclass

from generators.text_to_sql.grammar.plan import Aggregate, ChildCount, DatePart, Item, Ref, Share
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import ColumnKey, hints, plain_words
from generators.text_to_sql.paraphrase.reading import Reading
from generators.text_to_sql.paraphrase.tokens import stem

AGGREGATES = frozenset({"avg", "sum", "count"})
EXTREMES = plain_words("extremes")
_HEARD_AS = {"min": "low", "max": "high", "count_distinct": "count"}


@dataclass(frozen=True, slots=True)
class Key:
    """One thing to order by; `start` is where it stands, -1 where it stands there for another purpose."""

    start: int
    columns: frozenset[ColumnKey] = frozenset()
    functions: frozenset[str] = frozenset()
    table: str | None = None
    part: frozenset[str] = frozenset()
    share: bool = False

    def means(self, item: Item) -> bool:
        match item:
            case Ref(table=table, column=column):
                return (table, column) in self.columns and not self.functions - {"count"}
            case DatePart(part=part):
                return part in self.part
            case Aggregate("count", None) | ChildCount():
                return "count" in self.functions or (self.table is not None and not self.columns)
            case Aggregate("min" | "max", Ref(table=table, column=column)) if self.part and self.columns:
                return (table, column) in self.columns  # "latest year first", of the latest year of each group
            case Aggregate(function, Ref(table=table, column=column)):
                heard = (table, column) in self.columns or not self.columns
                return heard and _HEARD_AS.get(function, function) in self.functions
            case Share():
                return self.share
        return False


def key_of(mention: Mention, reading: Reading) -> Key | None:
    """What this mention, with its neighbours, could be ordered by."""
    tags = mention.tags
    if tags & AGGREGATES:
        follower = next((m for m in reading.right(mention, 5) if m.columns or m.table), None)
        columns = follower.columns if follower and "count" not in tags else frozenset()
        return Key(mention.start, columns, tags & AGGREGATES, follower.table if follower else None)
    if tags & {"high", "low"} and mention.text.lower() in EXTREMES:
        follower = next((m for m in reading.right(mention, 4) if m.columns), None)
        if follower:
            return Key(mention.start, follower.columns, tags & {"high", "low"})
        if reading.span(mention.end, mention.end + 2) in (["is", "the"], ["are", "the"]):
            return Key(mention.start, functions=tags & {"high", "low"})  # "whose minimum is the highest"
    part = frozenset(tag[:-1] for tag in tags & {"months", "years"})
    if mention.columns:
        return Key(mention.start, mention.columns, part=part)
    if mention.table and "sort" not in tags and _counted(mention, reading):
        return Key(mention.start, table=mention.table)
    if "share" in tags:
        return Key(mention.start, share=True)
    return Key(mention.start, part=part) if part else None


def _counted(mention: Mention, reading: Reading) -> bool:
    """ "the most visits": rows that a superlative counts."""
    before = next(reading.left(mention, 3), None)
    if before is None or not before.tags & {"high", "low"}:
        return False
    return set(reading.between(before, mention)) <= {"of", "the"}


def hinted_keys(mentions: list[Mention], facts: Facts) -> Iterator[Key]:
    """The columns that "heaviest" or "cheapest" speak of by themselves."""
    for mention in mentions:
        hinted = hints().get(mention.hint, frozenset())
        columns = {
            (name, column.name)
            for name in facts.tables
            for column in facts.catalog.table(name).columns
            if {stem(word) for word in column.words.split()} & hinted
        }
        if columns:
            yield Key(mention.start, frozenset(columns))
