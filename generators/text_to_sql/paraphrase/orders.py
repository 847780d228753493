"""Which order a question asks for: by what, in which direction, and how many rows of it.

    "sorted by fee from high to low, ties by visit number"  ->  (fee, descending), (visit number, ascending)
    "the five visits with the highest fee"                  ->  highest: fee
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from generators.text_to_sql.grammar.plan import Aggregate, ChildCount, DatePart, Item, Order, Ref, Share
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.reading import Mention, Reading
from generators.text_to_sql.paraphrase.tokens import stem
from generators.text_to_sql.paraphrase.vocabulary import ColumnKey, hints

_ENDS = frozenset({"high", "low", "late", "early"})
_AGGREGATES = frozenset({"avg", "sum", "count"})
_EXTREMES = ("maximum", "minimum", "max", "min")
_ON = ("on", "onward", "onwards", "up", "upwards", "down", "downwards")
_DESCENDING = {"high": True, "late": True, "low": False, "early": False}


@dataclass(frozen=True, slots=True)
class Key:
    """Something that can be ordered by, as heard: a column, an aggregate, a count of rows, a month or year."""

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
            case Aggregate(function, Ref(table=table, column=column)):
                heard = (table, column) in self.columns or not self.columns
                said = {"min": "low", "max": "high", "count_distinct": "count"}.get(function, function)
                return heard and said in self.functions
            case Share():
                return self.share
        return False


@dataclass(frozen=True, slots=True)
class Asked:
    """One key and its direction; `key` None where only the direction is said ("newest first")."""

    key: Key | None
    descending: bool
    cue: str


class Orders:
    """The orders and superlatives of one reading."""

    def __init__(self, reading: Reading, facts: Facts) -> None:
        self.reading, self.facts = reading, facts
        self.in_order: set[int] = set()
        """Where the superlatives stand that state an order: "highest first"."""
        self._before: set[int] = set()
        """Where keys stand that were named for another purpose before their direction: "its fee, highest first"."""
        self.stated: list[Asked] = [asked for region in self._regions() for asked in self._pairs(region)]
        self.stated += self._resolved()

    # --- stated orders ---

    def _regions(self) -> Iterator[list[Mention]]:
        """The stretches of text that state an order, cut where a tie-breaker begins."""
        for sentence in self._sentences():
            region: list[Mention] = []
            for mention in sentence:
                if self._opens(mention):
                    if "then" in mention.tags and region:
                        yield region
                        region = []
                    if not region and (key := self._key_before(mention)):
                        region.append(key)
                        if self.reading.word_before(key) != "by":
                            self._before.add(key.start)
                    region.append(mention)
                elif region:
                    region.append(mention)
            if region:
                yield region

    def _resolved(self) -> Iterator[Asked]:
        """ "the lower visit number wins a tie", "if tied, the one with the lower visit number"."""
        for mention in self.reading.tagged("lower", "higher"):
            key = next((k for m in self.reading.right(mention, 2) if (k := self._key(m))), None)
            here = self.reading.sentence(mention.start)
            if key and any(self.reading.sentence(tie.start) == here for tie in self.reading.tagged("ties")):
                yield Asked(key, "higher" in mention.tags, mention.text.lower())

    def _sentences(self) -> Iterator[list[Mention]]:
        current: list[Mention] = []
        number = 0
        for mention in self.reading.mentions:
            if (here := self.reading.sentence(mention.start)) != number:
                yield current
                current, number = [], here
            current.append(mention)
        yield current

    def _opens(self, mention: Mention) -> bool:
        tags = mention.tags
        if tags & {"asc", "desc"}:
            return True
        if "sort" in tags:
            return not self._ranks(mention)
        if "then" in tags:
            return not (tags & {"ties"} and not self._breaks(mention))
        return bool(tags & _ENDS) and (self._leads(mention) or self._spans(mention) is not None)

    def _key_before(self, mention: Mention) -> Mention | None:
        """ "fee descending", "by fee, highest first": the key stands before its direction."""
        before = next(self.reading.left(mention, 4), None)
        if before is None or not mention.tags & (_ENDS | {"asc", "desc"}) or not (before.columns or before.table or before.tags & {"months", "years"}):
            return None
        after = self.reading.tokens[mention.end : mention.end + 1]
        follows = next(self.reading.right(mention, 2), None)
        if mention.tags & _ENDS:
            alone = follows is not None and "first" in follows.tags or self._spans(mention) is not None
        else:
            alone = not (after and after[0].lower in ("of", "by", "order"))
        between = set(self.reading.between(before, mention))
        if "," in between and not mention.tags & _ENDS and self._key_soon(mention):
            return None
        if not alone or not between <= {",", "in", "from", "the", "(", "with", ":"}:
            return None
        function = next(self.reading.left(before, 2), None)  # "by mean fee, lowest first", "number of visits descending"
        if function and function.tags & (_AGGREGATES | {"high", "low"}):
            return function
        return None if before.table else before

    def _key_soon(self, mention: Mention) -> bool:
        """ "duration, going back in time from the latest visit date": the key is still to come."""
        for other in self.reading.right(mention, 7):
            if "then" in other.tags:
                return False
            if other.columns or other.tags & {"months", "years"}:
                return True
        return False

    def _ranks(self, mention: Mention) -> bool:
        """ "rank" is an order except where the plan computes a rank."""
        return "rank" in mention.tags and any(hasattr(item, "dense") for item in self.facts.selected)

    def _breaks(self, mention: Mention) -> bool:
        """A tie that is broken, not one that is shared: an order key follows."""
        words = {stem(token.lower) for token in self.reading.tokens[max(0, mention.start - 4) : mention.end + 6]}
        return bool(words & {"break", "brok", "settl", "by", "going", "go", "win", "one", "us", ":", "order", "sort", "tie-break", "breaker", "break", "resolv"})

    def _leads(self, mention: Mention) -> bool:
        """ "highest fee first", "with the newest at the top", "starting with the highest fee"."""
        before = [self.reading.tokens[i].lower for i in range(max(0, mention.start - 3), mention.start)]
        if any(word in ("starting", "beginning", "leading", "start", "begin") for word in before):
            return True
        if "from" in before and self.reading.tokens[mention.end : mention.end + 1] and self.reading.tokens[mention.end].lower in _ON:
            return True
        for other in self.reading.right(mention, 9):
            if "first" in other.tags and "limit" not in other.tags - {"limit"} or "first" in other.tags:
                following = next(self.reading.right(other, 2), None)
                return not (following and "number" in following.tags)
            if other.text.lower() not in _EXTREMES and other.tags & (_ENDS | {"sort", "asc", "desc"}):
                return False
        return False

    def _spans(self, mention: Mention) -> Mention | None:
        """ "from the highest to the lowest": the other end."""
        other = next((m for m in self.reading.right(mention, 6) if m.tags & _ENDS), None)
        if other and "to" in self.reading.between(mention, other) and _opposite(mention, other):
            return other
        return None

    def _pairs(self, region: list[Mention]) -> Iterator[Asked]:
        keys: list[Key] = []
        pending: tuple[bool, str] | None = None
        place, since, directed = 0, 0, False
        while place < len(region):
            mention = region[place]
            key = self._key(mention)
            if key and key.start in self._before:
                key = replace(key, start=-1)
            extreme = key is not None and bool(key.functions & _ENDS) and (pending or not self._leads(mention))
            direction = None if extreme else self._direction(mention, "then" in region[0].tags)
            if extreme:
                self.in_order.add(mention.start)
            if direction is not None:
                since = mention.end
                self.in_order.add(mention.start)
                other = self._spans(mention) if mention.tags & _ENDS else None
                if other:
                    self.in_order.add(other.start)
                directed = True
                if keys and self._points_ahead(mention, region, place):
                    yield from (Asked(waiting, False, "default") for waiting in keys)
                    keys, pending = [], direction
                elif keys:
                    yield from (Asked(waiting, *direction) for waiting in keys)
                    keys = []
                else:
                    pending = direction
                if other and other in region:
                    inner = [self._key(m) for m in region[place + 1 : region.index(other)]]
                    for found in inner:
                        if found and pending:
                            yield Asked(found, *pending)
                            pending = None
                    place = region.index(other)
            elif key is None and mention.tags & _ENDS and pending and any(_DESCENDING[e] == pending[0] for e in mention.tags & _ENDS):
                self.in_order.add(mention.start)
            elif key is not None:
                if pending and (mention.start - since > 5 or "," in self.reading.span(since, mention.start)):
                    yield Asked(None, *pending)
                    pending = None
                elif pending:
                    yield Asked(key, *pending)
                    pending = None
                else:
                    keys.append(key)
                while place + 1 < len(region) and region[place + 1].end <= mention.start:
                    place += 1
                if key.functions and place + 1 < len(region) and key.columns and region[place + 1].columns == key.columns:
                    place += 1
            place += 1
        if pending:
            yield Asked(next(self._hinted(region), None), *pending)
        if not directed:
            yield from (Asked(key, False, "default") for key in keys[:1])
            yield from (Asked(replace(key, start=-1), False, "default") for key in keys[1:2])

    def _points_ahead(self, mention: Mention, region: list[Mention], place: int) -> bool:
        """ "by fee, and by ascending visit number", "alphabetically by name": the direction is that of the next key."""
        after = [token.lower for token in self.reading.tokens[mention.end : mention.end + 1]]
        following = region[place + 1] if place + 1 < len(region) else None
        ahead = following is not None and following.start == mention.end and self._key(following) is not None
        return bool(mention.tags & {"asc", "desc"}) and (ahead or after[:1] in (["by"], ["of"]))

    def _direction(self, mention: Mention, tie: bool = False) -> tuple[bool, str] | None:
        tags = mention.tags
        if tie and tags & {"lower", "higher"}:
            return "higher" in tags, mention.text.lower()
        if "desc" in tags:
            return True, mention.text.lower()
        if "asc" in tags:
            return False, mention.text.lower()
        if tags & _ENDS and "limit" not in tags - {"limit"} and (self._leads(mention) or self._spans(mention)):
            end = next(end for end in ("high", "late", "low", "early") if end in tags)
            return _DESCENDING[end], end
        return None

    # --- keys ---

    def _key(self, mention: Mention) -> Key | None:
        """What this mention, with its neighbours, could be ordered by."""
        tags = mention.tags
        if tags & _AGGREGATES:
            follower = next((m for m in self.reading.right(mention, 5) if m.columns or m.table), None)
            functions = frozenset(tags & _AGGREGATES)
            columns = follower.columns if follower and "count" not in tags else frozenset()
            return Key(mention.start, columns, functions, follower.table if follower else None)
        if tags & {"high", "low"} and mention.text.lower() in _EXTREMES:
            follower = next((m for m in self.reading.right(mention, 4) if m.columns), None)
            if follower:
                return Key(mention.start, follower.columns, frozenset(tags & {"high", "low"}))
        if mention.columns:
            return Key(mention.start, mention.columns)
        if mention.table and not tags & {"sort"} and self._counted(mention):
            return Key(mention.start, table=mention.table)
        if "share" in tags:
            return Key(mention.start, share=True)
        if tags & {"months", "years"}:
            return Key(mention.start, part=frozenset(tag[:-1] for tag in tags & {"months", "years"}))
        return None

    def _counted(self, mention: Mention) -> bool:
        """ "the most visits": rows that a superlative counts."""
        before = next(self.reading.left(mention, 3), None)
        return before is not None and bool(before.tags & {"high", "low"})

    # --- superlatives ---

    def superlatives(self) -> Iterator[tuple[Mention, str, list[Key]]]:
        """Each superlative that states no order, its end, and the keys it may speak of: after it, before it, hinted."""
        for mention in self.reading.tagged(*_ENDS):
            if mention.start in self.in_order:
                continue
            end = next(end for end in ("high", "late", "low", "early") if end in mention.tags)
            yield mention, end, list(self._keys_near(mention))

    def _hinted(self, mentions: list[Mention]) -> Iterator[Key]:
        """The columns that "heaviest" or "cheapest" speak of by themselves."""
        for mention in mentions:
            hinted = hints().get(mention.hint, frozenset())
            columns = {
                (name, column.name)
                for name in self.facts.tables()
                for column in self.facts.catalog.table(name).columns
                if {stem(word) for word in column.words.split()} & hinted
            }
            if columns:
                yield Key(mention.start, frozenset(columns))

    def _keys_near(self, mention: Mention) -> Iterator[Key]:
        yield from self._hinted([mention])
        meant = self.reading.tokens[mention.end : mention.end + 1]
        ahead = () if meant and meant[0].lower in ("one", "ones") else self.reading.right(mention, 9)
        for side in (ahead, self.reading.left(mention, 9)):
            for other in side:
                if other.table and mention.tags & {"late", "early"}:
                    return  # "the most recent visit": by whichever date
                if (key := self._key(other)) is not None:
                    yield key
                    if key.columns or key.functions:
                        break


def asks(asked: Asked, order: Order) -> bool:
    return asked.descending == order.descending and (asked.key is None or asked.key.means(order.by))


def _opposite(one: Mention, other: Mention) -> bool:
    return any({a, b} in ({"high", "low"}, {"late", "early"}) for a in one.tags for b in other.tags)
