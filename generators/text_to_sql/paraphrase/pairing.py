"""How a direction is said, and which key it belongs to.

"by fee, highest first"                         the key waits for its direction
"in descending order of fee"                    the direction waits for its key
"from the oldest to the newest visit date"      one direction with two ends
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from generators.text_to_sql.grammar.plan import Order
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.keys import EXTREMES, Key, hinted_keys, key_of
from generators.text_to_sql.paraphrase.lexicon import ColumnKey, plain_words
from generators.text_to_sql.paraphrase.reading import Reading

ENDS = frozenset({"high", "low", "late", "early"})
WAYS = frozenset({"asc", "desc"})
DESCENDING = {"high": True, "late": True, "low": False, "early": False}
LEADS = plain_words("leads")
_ON = plain_words("on")


@dataclass(frozen=True, slots=True)
class Asked:
    """One key and its direction; `key` None where only the direction is said ("newest first"); the cue "default" where
    only the key is said."""

    key: Key | None
    descending: bool
    cue: str

    def states(self, order: Order) -> bool:
        return self.descending == order.descending and (self.key is None or self.key.means(order.by))


def leads(reading: Reading, mention: Mention) -> bool:
    """ "highest fee first", "with the newest at the top", "starting with the highest fee", "from the oldest on"."""
    before = reading.span(max(0, mention.start - 3), mention.start)
    after = reading.span(mention.end, mention.end + 1)
    if LEADS & set(before) or ("from" in before and _ON & set(after)):
        return True
    for other in reading.right(mention, 9):
        if "first" in other.tags:
            following = next(reading.right(other, 2), None)
            return not (following and "number" in following.tags)
        if other.text.lower() not in EXTREMES and other.tags & (ENDS | WAYS | {"sort"}):
            return False
    return False


def spans(reading: Reading, mention: Mention) -> Mention | None:
    """ "from the highest to the lowest": the other end."""
    other = next((m for m in reading.right(mention, 6) if m.tags & ENDS), None)
    if other and "to" in reading.between(mention, other) and _opposite(mention, other):
        return other
    return None


def end_of(mention: Mention) -> str:
    return next(end for end in ("high", "late", "low", "early") if end in mention.tags)


def _opposite(one: Mention, other: Mention) -> bool:
    return any({a, b} in ({"high", "low"}, {"late", "early"}) for a in one.tags for b in other.tags)


@dataclass
class Pairing:
    """Reads one region from left to right, and pairs keys with directions."""

    reading: Reading
    facts: Facts
    region: list[Mention]
    in_order: set[int]
    """Where superlatives stand that state an order; what is found here is added."""
    named_before: set[int]
    """Where keys stand that were named for another purpose before their direction."""
    keys: list[Key] = field(default_factory=list)
    """Keys that wait for their direction."""
    pending: tuple[bool, str] | None = None
    """A direction that waits for its key."""
    since: int = 0
    directed: bool = False
    chronological: frozenset[ColumnKey] = frozenset()
    """The dates that the pending direction is about, where it says so itself."""

    def pairs(self) -> Iterator[Asked]:
        place = 0
        while place < len(self.region):
            mention = self.region[place]
            same = self.reading.word_before(mention) == "same"  # "those with the same year by name"
            key = None if same else key_of(mention, self.reading)
            if key and key.start in self.named_before:
                key = replace(key, start=-1)
            aggregate = key is not None and bool(key.functions & ENDS) and self._is_aggregate(mention)
            direction = None if aggregate else self._direction(mention)
            if aggregate or direction or self._repeats(mention):
                self.in_order.add(mention.start)
            if direction:
                yield from self._direct(mention, place, direction)
                other = spans(self.reading, mention) if mention.tags & ENDS else None
                if other:
                    self.in_order.add(other.start)
                if other in self.region:
                    yield from self._within(self.region[place + 1 : self.region.index(other)])
                    place = self.region.index(other)
            elif key:
                yield from self._hear(key, mention)
                place += self._is_part_of(key, place + 1)
            place += 1
        yield from self._leftovers()

    def _is_aggregate(self, mention: Mention) -> bool:
        """ "the minimum fee" after a direction, or where it leads nothing itself."""
        return self.pending is not None or not leads(self.reading, mention)

    def _repeats(self, mention: Mention) -> bool:
        """ "going forward in time from the earliest": the direction said twice."""
        same = any(DESCENDING[end] == self.pending[0] for end in mention.tags & ENDS) if self.pending else False
        return same and key_of(mention, self.reading) is None

    def _direction(self, mention: Mention) -> tuple[bool, str] | None:
        tags, text = mention.tags, mention.text.lower()
        if "then" in self.region[0].tags and tags & {"lower", "higher"}:
            return "higher" in tags, text
        if tags & WAYS:
            return "desc" in tags, text
        if tags & ENDS and (leads(self.reading, mention) or spans(self.reading, mention)):
            end = end_of(mention)
            return DESCENDING[end], end
        return None

    def _direct(self, mention: Mention, place: int, direction: tuple[bool, str]) -> Iterator[Asked]:
        self.since, self.directed = mention.end, True
        if self.keys and self._points_ahead(mention, place):
            yield from (Asked(waiting, False, "default") for waiting in self.keys)
            self.keys, self.pending = [], direction
        elif self.keys:
            yield from (Asked(waiting, *direction) for waiting in self.keys)
            self.keys = []
        else:
            if self.pending and self.chronological:
                yield Asked(Key(-1, self.chronological), *self.pending)
            self.chronological = self._dates() if "chronolog" in mention.text.lower() else frozenset()
            self.pending = direction

    def _points_ahead(self, mention: Mention, place: int) -> bool:
        """ "by fee, and by ascending visit number", "alphabetically by name": the direction is that of the next key."""
        reading = self.reading
        following = self.region[place + 1] if place + 1 < len(self.region) else None
        beside = following is not None and following.start == mention.end and key_of(following, reading) is not None
        return bool(mention.tags & WAYS) and (beside or reading.span(mention.end, mention.end + 1) in (["by"], ["of"]))

    def _within(self, between: list[Mention]) -> Iterator[Asked]:
        """ "from the fewest visits to the most"."""
        for mention in between:
            key = key_of(mention, self.reading)
            if key and self.pending:
                yield Asked(key, *self.pending)
                self.pending = None

    def _hear(self, key: Key, mention: Mention) -> Iterator[Asked]:
        if self.pending is None:
            self.keys.append(key)
            return
        between = self.reading.span(self.since, mention.start)
        if between[-3:] == ["first", "and", "by"]:  # "oldest first and by fine number": two orders
            yield Asked(None, *self.pending)
            yield Asked(key, False, "default")
            self.pending = None
            return
        far = mention.start - self.since > 5 or "," in between
        yield Asked(None if far else key, *self.pending)
        self.pending = None

    def _is_part_of(self, key: Key, place: int) -> bool:
        """The column of an aggregate that was just read with it."""
        return (
            bool(key.functions and key.columns)
            and self.region[place : place + 1] != []
            and (self.region[place].columns == key.columns)
        )

    def _dates(self) -> frozenset[ColumnKey]:
        """What "chronologically" may speak of."""
        tables = map(self.facts.catalog.table, self.facts.tables)
        return frozenset((table.name, column.name) for table in tables for column in table.of_kind("date"))

    def _leftovers(self) -> Iterator[Asked]:
        if self.pending:
            yield Asked(next(hinted_keys(self.region, self.facts), None), *self.pending)
        if not self.directed:
            yield from (Asked(key, False, "default") for key in self.keys[:1])
            yield from (Asked(replace(key, start=-1), False, "default") for key in self.keys[1:2])
