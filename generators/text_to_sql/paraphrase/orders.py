"""Which order a question asks for: by what, and in which direction.

"sorted by fee from high to low, ties by visit number"  ->  (fee, descending), (visit number, ascending)
"the five visits with the highest fee"                  ->  a superlative: the high end of the fee
"""

from collections.abc import Iterator
from dataclasses import dataclass

from generators.text_to_sql.grammar.plan import Rank, ref_of
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.keys import AGGREGATES, EXTREMES, Key, hinted_keys, key_of
from generators.text_to_sql.paraphrase.lexicon import plain_words
from generators.text_to_sql.paraphrase.pairing import (
    DESCENDING,
    ENDS,
    LEADS,
    WAYS,
    Asked,
    Pairing,
    end_of,
    leads,
    spans,
)
from generators.text_to_sql.paraphrase.reading import STOPS, Reading

_PARTS = frozenset({"months", "years"})
_BREAKS = plain_words("breaks")
_RELATIVES = plain_words("relatives")
_BEFORE_WAYS = frozenset({",", "in", "from", "the", "(", "with", ":"})


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
        self.stated = [asked for region in self._regions() for asked in self._paired(region)]
        self.stated += [*self._resolved(), *self._led()]
        self.superlatives = list(self._superlatives())

    # --- where orders are stated ---

    def _paired(self, region: list[Mention]) -> Iterator[Asked]:
        return Pairing(self.reading, self.facts, region, self.in_order, self.named_before).pairs()

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
        if tags & WAYS:
            return True
        if "sort" in tags:
            return not ("rank" in tags and any(isinstance(item, Rank) for item in self.facts.selected))
        if "then" in tags:
            return "ties" not in tags or self._breaks(mention)
        return bool(tags & ENDS) and (leads(self.reading, mention) or spans(self.reading, mention) is not None)

    def _breaks(self, mention: Mention) -> bool:
        """A tie that is broken, not one that is shared: an order key follows."""
        return bool(_BREAKS & set(self.reading.span(max(0, mention.start - 4), mention.end + 6)))

    def _key_before(self, mention: Mention) -> Mention | None:
        """ "fee descending", "by fee, highest first": the key stands before its direction."""
        before = next(self.reading.left(mention, 4), None)
        if before is None or not mention.tags & (ENDS | WAYS):
            return None
        if not (before.columns or before.table or before.tags & _PARTS) or not self._stands_alone(mention):
            return None
        between = set(self.reading.between(before, mention))
        shown = [(ref.table, ref.column) for item in self.facts.selected if (ref := ref_of(item))]
        if "," in between and mention.tags & WAYS and len(shown) == 1 and shown[0] not in before.columns:
            return None  # "the numbers of all visits without a fee, in ascending order"
        if not between <= _BEFORE_WAYS or ("," in between and mention.tags & WAYS and self._key_soon(mention)):
            return None
        function = next(self.reading.left(before, 2), None)
        if function and function.tags & (AGGREGATES | {"high", "low"}):
            return function  # "by mean fee, lowest first", "number of visits descending"
        return None if before.table else before

    def _stands_alone(self, mention: Mention) -> bool:
        """No key follows it: "highest first", but not "in descending order of"."""
        if mention.tags & ENDS:
            follows = next(self.reading.right(mention, 2), None)
            return (follows is not None and "first" in follows.tags) or spans(self.reading, mention) is not None
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
        for mention in self.reading.tagged(*ENDS):
            before = self.reading.span(max(0, mention.start - 10), mention.start)
            opened = max(
                (i for i in range(len(before) - 1) if before[i] in LEADS and before[i + 1] == "with"), default=None
            )
            if opened is None or mention.start in self.in_order or STOPS & set(before[opened:]):
                continue
            relative = next((i for i in range(opened, len(before)) if before[i] in _RELATIVES), None)
            if relative is None or mention.text.lower() in EXTREMES:
                continue
            inside = list(self.reading.left(mention, len(before) - relative))
            if any(m.tags & ENDS and m.text.lower() not in EXTREMES for m in inside):
                continue
            near = (*self.reading.right(mention, 4), *inside)
            key = next((key for other in near if (key := key_of(other, self.reading))), None)
            if key:
                self.in_order |= {mention.start, key.start}
                end = end_of(mention)
                yield Asked(key, DESCENDING[end], end)

    # --- superlatives ---

    def _superlatives(self) -> Iterator[Superlative]:
        for mention in self.reading.tagged(*ENDS):
            if mention.start not in self.in_order:
                yield Superlative(mention, end_of(mention), tuple(self._keys_near(mention)))

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


def _is_led(region: list[Mention]) -> bool:
    """ "latest year first": complete with its direction, before "and sort"."""
    return bool(region) and bool(region[0].tags & ENDS) and not any(m.tags & WAYS for m in region)
