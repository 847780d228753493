"""Which order a question asks for: by what, and in which direction.

"sorted by fee from high to low, ties by visit number"  ->  (fee, descending), (visit number, ascending)
"the five visits with the highest fee"                  ->  a superlative: the high end of the fee
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from generators.text_to_sql.grammar.plan import Order, Rank, ref_of
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.keys import AGGREGATES, EXTREMES, Key, hinted_keys, key_of
from generators.text_to_sql.paraphrase.lexicon import ColumnKey, plain_words
from generators.text_to_sql.paraphrase.reading import STOPS, Reading

_ENDS = frozenset({"high", "low", "late", "early"})
_WAYS = frozenset({"asc", "desc"})
_PARTS = frozenset({"months", "years"})
_DESCENDING = {"high": True, "late": True, "low": False, "early": False}
_BREAKS, _LEADS, _ON = plain_words("breaks"), plain_words("leads"), plain_words("on")
_RELATIVES = plain_words("relatives")
_BEFORE_WAYS = frozenset({",", "in", "from", "the", "(", "with", ":"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One key and its direction; `key` None where only the direction is said ("newest first"); the cue "default" where
    only the key is said."""

    key: Key | None
    descending: bool
    cue: str

    def states(self, order: Order) -> bool:
        return self.descending == order.descending and (self.key is None or self.key.means(order.by))


@dataclass(frozen=True, slots=True)
class Superlative:
    """One that states no order: its end (high, low, late, early), and the keys it may speak of, the likeliest first."""

    mention: Mention
    end: str
    keys: tuple[Key, ...]


class Orders:
    """The orders and superlatives of one reading."""

    def __init__(self, reading: Reading, facts: Facts) -> None:
        self.reading, self.facts = reading, facts
        self.in_order: set[int] = set()
        """Where the superlatives stand that state an order: "highest first"."""
        self.named_before: set[int] = set()
        """Where keys stand that were named for another purpose before their direction: "its fee, highest first"."""
        self.stated = [asked for region in self._regions() for asked in _Pairing(self, region).pairs()]
        self.stated += [*self._resolved(), *self._led()]
        self.superlatives = list(self._superlatives())

    # --- where orders are stated ---

    def _regions(self) -> Iterator[list[Mention]]:
        """The stretches of text that state an order, cut where a tie-breaker begins."""
        for sentence in self.reading.sentences():
            region: list[Mention] = []
            for mention in sentence:
                opens = self._opens(mention)
                again = "sort" in mention.tags and self.reading.word_before(mention) == "and" and _is_led(region)
                if opens and region and ("then" in mention.tags or again):
                    yield region
                    region = []
                if opens and not region and (key := self._key_before(mention)):
                    region.append(key)
                    if self.reading.word_before(key) != "by":
                        self.named_before.add(key.start)
                if opens or region:
                    region.append(mention)
            if region:
                yield region

    def _opens(self, mention: Mention) -> bool:
        tags = mention.tags
        if tags & _WAYS:
            return True
        if "sort" in tags:
            return not ("rank" in tags and any(isinstance(item, Rank) for item in self.facts.selected))
        if "then" in tags:
            return "ties" not in tags or self._breaks(mention)
        return bool(tags & _ENDS) and (self.leads(mention) or self.spans(mention) is not None)

    def dates(self) -> frozenset[ColumnKey]:
        """What "chronologically" may speak of."""
        tables = map(self.facts.catalog.table, self.facts.tables)
        return frozenset((table.name, column.name) for table in tables for column in table.of_kind("date"))

    def _breaks(self, mention: Mention) -> bool:
        """A tie that is broken, not one that is shared: an order key follows."""
        return bool(_BREAKS & set(self.reading.span(max(0, mention.start - 4), mention.end + 6)))

    def leads(self, mention: Mention) -> bool:
        """ "highest fee first", "with the newest at the top", "starting with the highest fee", "from the oldest on"."""
        before = self.reading.span(max(0, mention.start - 3), mention.start)
        after = self.reading.span(mention.end, mention.end + 1)
        if _LEADS & set(before) or ("from" in before and _ON & set(after)):
            return True
        for other in self.reading.right(mention, 9):
            if "first" in other.tags:
                following = next(self.reading.right(other, 2), None)
                return not (following and "number" in following.tags)
            if other.text.lower() not in EXTREMES and other.tags & (_ENDS | _WAYS | {"sort"}):
                return False
        return False

    def spans(self, mention: Mention) -> Mention | None:
        """ "from the highest to the lowest": the other end."""
        other = next((m for m in self.reading.right(mention, 6) if m.tags & _ENDS), None)
        if other and "to" in self.reading.between(mention, other) and _opposite(mention, other):
            return other
        return None

    def _key_before(self, mention: Mention) -> Mention | None:
        """ "fee descending", "by fee, highest first": the key stands before its direction."""
        before = next(self.reading.left(mention, 4), None)
        if before is None or not mention.tags & (_ENDS | _WAYS):
            return None
        if not (before.columns or before.table or before.tags & _PARTS) or not self._stands_alone(mention):
            return None
        between = set(self.reading.between(before, mention))
        shown = [(ref.table, ref.column) for item in self.facts.selected if (ref := ref_of(item))]
        if "," in between and mention.tags & _WAYS and len(shown) == 1 and shown[0] not in before.columns:
            return None  # "the numbers of all visits without a fee, in ascending order"
        if not between <= _BEFORE_WAYS or ("," in between and mention.tags & _WAYS and self._key_soon(mention)):
            return None
        function = next(self.reading.left(before, 2), None)
        if function and function.tags & (AGGREGATES | {"high", "low"}):
            return function  # "by mean fee, lowest first", "number of visits descending"
        return None if before.table else before

    def _stands_alone(self, mention: Mention) -> bool:
        """No key follows it: "highest first", but not "in descending order of"."""
        if mention.tags & _ENDS:
            follows = next(self.reading.right(mention, 2), None)
            return (follows is not None and "first" in follows.tags) or self.spans(mention) is not None
        return not {"of", "by", "order"} & set(self.reading.span(mention.end, mention.end + 1))

    def _key_soon(self, mention: Mention) -> bool:
        """ "duration, going back in time from the latest visit date": the key is still to come."""
        for other in self.reading.right(mention, 7):
            if "then" in other.tags:
                return False
            if other.columns or other.tags & _PARTS:
                return True
        return False

    def _resolved(self) -> Iterator[Asked]:
        """ "the lower visit number wins a tie", "if tied, the one with the lower visit number"."""
        ties = {self.reading.sentence(tie.start) for tie in self.reading.tagged("ties")}
        for mention in self.reading.tagged("lower", "higher"):
            keys = (key_of(other, self.reading) for other in self.reading.right(mention, 2))
            key = next((key for key in keys if key), None)
            if key and self.reading.sentence(mention.start) in ties:
                yield Asked(key, "higher" in mention.tags, mention.text.lower())

    def _led(self) -> Iterator[Asked]:
        """ "start with the genre that has the most copies", "begin with the status whose minimum is the highest"."""
        for mention in self.reading.tagged(*_ENDS):
            before = self.reading.span(max(0, mention.start - 10), mention.start)
            opened = max((i for i, word in enumerate(before[:-1]) if _leads_with(*before[i : i + 2])), default=None)
            if opened is None or mention.start in self.in_order or STOPS & set(before[opened:]):
                continue
            relative = next((i for i in range(opened, len(before)) if before[i] in _RELATIVES), None)
            if relative is None or mention.text.lower() in EXTREMES:
                continue
            inside = list(self.reading.left(mention, len(before) - relative))
            if any(m.tags & _ENDS and m.text.lower() not in EXTREMES for m in inside):
                continue
            near = (*self.reading.right(mention, 4), *inside)
            key = next((key for other in near if (key := key_of(other, self.reading))), None)
            if key:
                self.in_order |= {mention.start, key.start}
                end = _end_of(mention)
                yield Asked(key, _DESCENDING[end], end)

    # --- superlatives ---

    def _superlatives(self) -> Iterator[Superlative]:
        for mention in self.reading.tagged(*_ENDS):
            if mention.start not in self.in_order:
                yield Superlative(mention, _end_of(mention), tuple(self._keys_near(mention)))

    def _keys_near(self, mention: Mention) -> Iterator[Key]:
        """Hinted at by the word, after it, or before it."""
        yield from hinted_keys([mention], self.facts)
        pronoun = {"one", "ones"} & set(self.reading.span(mention.end, mention.end + 1))
        for side in (() if pronoun else self.reading.right(mention, 9), self.reading.left(mention, 9)):
            for other in side:
                if other.table and mention.tags & {"late", "early"}:
                    return  # "the most recent visit": by whichever date
                key = key_of(other, self.reading)
                if key is None:
                    continue
                yield key
                between = self.reading.span(mention.end, key.start)
                if key.columns and mention.end <= key.start <= mention.end + 2 and "and" not in between:
                    return  # "the highest fee" is of nothing before it
                if key.columns or key.functions:
                    break


@dataclass
class _Pairing:
    """Reads one region from left to right, and pairs keys with directions."""

    orders: Orders
    region: list[Mention]
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
            same = self.orders.reading.word_before(mention) == "same"  # "those with the same year by name"
            key = None if same else key_of(mention, self.orders.reading)
            if key and key.start in self.orders.named_before:
                key = replace(key, start=-1)
            aggregate = key is not None and bool(key.functions & _ENDS) and self._is_aggregate(mention)
            direction = None if aggregate else self._direction(mention)
            if aggregate or direction or self._repeats(mention):
                self.orders.in_order.add(mention.start)
            if direction:
                yield from self._direct(mention, place, direction)
                other = self.orders.spans(mention) if mention.tags & _ENDS else None
                if other:
                    self.orders.in_order.add(other.start)
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
        return self.pending is not None or not self.orders.leads(mention)

    def _repeats(self, mention: Mention) -> bool:
        """ "going forward in time from the earliest": the direction said twice."""
        same = any(_DESCENDING[end] == self.pending[0] for end in mention.tags & _ENDS) if self.pending else False
        return same and key_of(mention, self.orders.reading) is None

    def _direction(self, mention: Mention) -> tuple[bool, str] | None:
        tags, text = mention.tags, mention.text.lower()
        if "then" in self.region[0].tags and tags & {"lower", "higher"}:
            return "higher" in tags, text
        if tags & _WAYS:
            return "desc" in tags, text
        if tags & _ENDS and (self.orders.leads(mention) or self.orders.spans(mention)):
            end = _end_of(mention)
            return _DESCENDING[end], end
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
            self.chronological = self.orders.dates() if "chronolog" in mention.text.lower() else frozenset()
            self.pending = direction

    def _points_ahead(self, mention: Mention, place: int) -> bool:
        """ "by fee, and by ascending visit number", "alphabetically by name": the direction is that of the next key."""
        reading = self.orders.reading
        following = self.region[place + 1] if place + 1 < len(self.region) else None
        beside = following is not None and following.start == mention.end and key_of(following, reading) is not None
        return bool(mention.tags & _WAYS) and (beside or reading.span(mention.end, mention.end + 1) in (["by"], ["of"]))

    def _within(self, between: list[Mention]) -> Iterator[Asked]:
        """ "from the fewest visits to the most"."""
        for mention in between:
            key = key_of(mention, self.orders.reading)
            if key and self.pending:
                yield Asked(key, *self.pending)
                self.pending = None

    def _hear(self, key: Key, mention: Mention) -> Iterator[Asked]:
        if self.pending is None:
            self.keys.append(key)
            return
        between = self.orders.reading.span(self.since, mention.start)
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

    def _leftovers(self) -> Iterator[Asked]:
        if self.pending:
            yield Asked(next(hinted_keys(self.region, self.orders.facts), None), *self.pending)
        if not self.directed:
            yield from (Asked(key, False, "default") for key in self.keys[:1])
            yield from (Asked(replace(key, start=-1), False, "default") for key in self.keys[1:2])


def _is_led(region: list[Mention]) -> bool:
    """ "latest year first": complete with its direction, before "and sort"."""
    return bool(region) and bool(region[0].tags & _ENDS) and not any(m.tags & _WAYS for m in region)


def _end_of(mention: Mention) -> str:
    return next(end for end in ("high", "late", "low", "early") if end in mention.tags)


def _leads_with(verb: str, preposition: str) -> bool:
    return verb in _LEADS and preposition == "with"


def _opposite(one: Mention, other: Mention) -> bool:
    return any({a, b} in ({"high", "low"}, {"late", "early"}) for a in one.tags for b in other.tags)
