"""Is every superlative of something that the plan asks for, and is none missing?

"the five visits with the highest fee"      the high end of the fee: an order of the plan
"the lowest fee of each city"               the low end: the plan's MIN
"""

from typing import NamedTuple

from generators.text_to_sql.grammar.plan import (
    Aggregate,
    DatePart,
    EndValue,
    Item,
    Nested,
    Rank,
    Recent,
    Tile,
    TopGroup,
    ref_of,
)
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.keys import EXTREMES, Key

_SAME_END = {"high": "late", "low": "early", "late": "high", "early": "low"}
"""Of calendar years the highest is the latest."""


class End(NamedTuple):
    """The end of an order that the plan asks for, and of what; None = of anything."""

    end: str
    about: Item | None


class Ends:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading

    def check(self) -> None:
        """Every superlative must name an end that the plan asks for, of what it asks for; and none may be missing."""
        ends = self._ends()
        for superlative in self.evidence.orders.superlatives:
            if self._is_harmless(superlative.mention):
                continue
            fit = [end.about for end in ends if self.same_end(superlative.end, end)]
            keys = superlative.keys
            if not fit:
                self.evidence.problems.append(f"{superlative.mention.text!r} is not what is asked")
            elif keys and not any(_speaks_of(key, about) for key in keys for about in fit):
                self.evidence.problems.append(f"{superlative.mention.text!r} is of something else")
        for end in self._picked_ends():
            other = (_SAME_END[end.end],) if self._is_year(end.about) else ()
            if not self.reading.tagged(end.end, *other):
                self.evidence.problems.append(f"missing the {end.end} end")

    def _picked_ends(self) -> list[End]:
        """Those that only a superlative can tell: of aggregates and groups."""
        functions = {"min": "low", "max": "high"}
        found = [End(functions[a.function], a) for a in self.facts.aggregates() if a.function in functions]
        outer = [item.outer for item in self.facts.selected if isinstance(item, Nested)]
        found += [End(functions[function], None) for function in outer if function in functions]
        tops = [filter_ for filter_ in self.facts.filters if isinstance(filter_, TopGroup)]
        return found + [End("high" if top.descending else "low", None) for top in tops]

    def _ends(self) -> list[End]:
        found = self._picked_ends() + [End(self.facts.end(order), order.by) for order in self.evidence.ordering()]
        found += [End("high" if i.descending else "low", i) for i in self.facts.selected if isinstance(i, Rank | Tile)]
        found += [End("late" if i.last else "early", None) for i in self.facts.selected if isinstance(i, EndValue)]
        return found + [End("late", None) for filter_ in self.facts.filters if isinstance(filter_, Recent)]

    def same_end(self, heard: str, end: End) -> bool:
        return heard == end.end or (heard == _SAME_END[end.end] and self._is_year(end.about))

    def _is_year(self, about: Item | None) -> bool:
        ref = ref_of(about) if about is not None else None
        return ref is not None and self.facts.catalog.column(ref).unit == "year"

    def _is_harmless(self, mention: Mention) -> bool:
        """ "top" opens any list that is cut off; "last" may mean the previous; "a maximum of 5" bounds."""
        text = mention.text.lower()
        if text in ("top", "best"):
            return self.facts.plan.limit is not None or self.facts.plan.top is not None
        if text == "last":
            return True
        bounds = text.removeprefix("a ").removesuffix(" of") in EXTREMES and mention.tags & {"ge", "le"}
        after = next(self.reading.right(mention, 3), None)
        return bool(bounds) and after in self.reading.literals and after is not None and not after.soft


def _speaks_of(key: Key, about: Item | None) -> bool:
    """The key is what the end is of; "the highest fee" is also the maximum of the fee."""
    if about is None or isinstance(about, DatePart | Rank | Tile) or key.means(about):
        return True
    return isinstance(about, Aggregate) and about.ref is not None and (about.ref.table, about.ref.column) in key.columns
