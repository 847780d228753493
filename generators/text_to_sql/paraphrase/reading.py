"""How the mentions of a question hang together: comparisons with their literals, negations with what they deny.

"the 5 visits with a fee not above 50 euros"  ->  50 is compared by le; no negation is left over
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import groupby, pairwise

from generators.text_to_sql.paraphrase.hearing import Hearing, Mention
from generators.text_to_sql.paraphrase.lexicon import plain_words
from generators.text_to_sql.paraphrase.wordings import reworded

STOPS = frozenset(".;?!")
_LITERALS = frozenset({"number", "date", "month", "value", "quote"})
_UNIT_TAGS = frozenset({"column", "table", "days", "months", "years", "share", "rows", "per"})
_NO_BRIDGE = _LITERALS | {"not", "table", "high", "low", "late", "early", "limit"}
_UNNEGATED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}
_EXTREMES = plain_words("extremes")
_FILL = plain_words("fill") | plain_words("articles")
_RANGE_WORDS = frozenset({"to", "-", "through", "until"})


class Reading:
    """The mentions of one question in their places."""

    def __init__(self, heard: Hearing) -> None:
        self.tokens, self.vocabulary, self.mentions = heard.tokens, heard.vocabulary, reworded(heard)
        self._lower = heard.lower
        self.at: list[Mention | None] = [None] * len(self.tokens)
        for mention in self.mentions:
            self.at[mention.start : mention.end] = [mention] * (mention.end - mention.start)

    # --- looking around ---

    def tagged(self, *tags: str) -> list[Mention]:
        return [mention for mention in self.mentions if mention.tags & set(tags)]

    def left(self, mention: Mention, limit: int = 99) -> Iterator[Mention]:
        """The mentions before this one in its sentence, the nearest first, `limit` tokens back at most."""
        place = mention.start - 1
        while place >= max(0, mention.start - limit) and self._lower[place] not in STOPS:
            other = self.at[place]
            if other:
                yield other
                place = other.start
            place -= 1

    def right(self, mention: Mention, limit: int = 99) -> Iterator[Mention]:
        place = mention.end
        while place < min(len(self.tokens), mention.end + limit) and self._lower[place] not in STOPS:
            other = self.at[place]
            if other:
                yield other
                place = other.end - 1
            place += 1

    def span(self, start: int, end: int) -> list[str]:
        return self._lower[start:end]

    def between(self, first: Mention, second: Mention) -> list[str]:
        return self.span(first.end, second.start)

    def word_before(self, mention: Mention) -> str:
        return self._lower[mention.start - 1] if mention.start else ""

    def sentence(self, place: int) -> int:
        """A number for the sentence that a token stands in."""
        return sum(word in STOPS for word in self._lower[:place])

    def sentences(self) -> Iterator[list[Mention]]:
        """The mentions, sentence by sentence."""
        for _, mentions in groupby(self.mentions, key=lambda mention: self.sentence(mention.start)):
            yield list(mentions)

    # --- comparisons ---

    @cached_property
    def literals(self) -> list[Mention]:
        return [mention for mention in self.mentions if mention.tags & _LITERALS]

    @cached_property
    def flips(self) -> set[int]:
        """Where the negations stand that turn a comparison round: "is not above 5"."""
        cues = (self._flip(found[1]) for literal in self.literals if (found := self._before(literal)))
        return {cue.start for cue in cues if cue}

    def _flip(self, comparison: Mention) -> Mention | None:
        before = next(self.left(comparison, 4), None)
        if before is None or "not" not in before.tags or "ne" in comparison.tags:
            return None
        return before if set(self.between(before, comparison)) <= _FILL else None

    @cached_property
    def operators(self) -> dict[int, str]:
        """The comparison that governs each literal, by where the literal starts: gt, ge, lt, le, eq or ne."""
        found = {literal.start: self._operator(literal) for literal in self.literals}
        closed = -1
        for first, second in pairwise(self.literals):
            if first.start != closed and self._is_range(first, second, found):
                closed = second.start
                found[first.start] = "ge"
                if found[second.start] == "eq" or self._opens_range(first):
                    found[second.start] = "le"
        return found

    def _operator(self, literal: Mention) -> str:
        after = self._after(literal)
        before = self._before(literal)
        if before and before[0] == "ge" and after == "ge":
            return "ge"
        if before and not (before[0] in ("eq", "ne") and after):
            op, cue = before
            return _UNNEGATED[op] if self._flip(cue) else op
        return after or "eq"

    def opened_by(self, literal: Mention) -> str:
        """The words of the comparison in front of a literal, "" where there is none or one behind it."""
        before = self._before(literal)
        return before[1].text.lower() if before and self._after(literal) is None else ""

    def _before(self, literal: Mention) -> tuple[str, Mention] | None:
        place, steps = literal.start - 1, 0
        while place >= 0 and steps < 6 and self._lower[place] not in STOPS | {",", "and", "or"}:
            other = self.at[place]
            if other:
                op = _comparison(other.tags)
                if other.text.lower() in _EXTREMES and other.end < literal.start:
                    return None
                if op and (op in ("eq", "ne") or not literal.tags & {"value", "quote"}):
                    return op, other
                if other.tags & _NO_BRIDGE:
                    return None
                place = other.start
            elif self._lower[place] not in _FILL:
                steps += 2
            steps += 1
            place -= 1
        return None

    def _after(self, literal: Mention) -> str | None:
        """ "50 euros or more": units may stand between."""
        place, skipped = literal.end, 0
        while place < len(self.tokens) and skipped <= 4 and self._lower[place] not in STOPS | {","}:
            other = self.at[place]
            if other and other.tags & {"ge_after", "le_after"}:
                if _comparison(other.tags) and any(m.tags & _LITERALS for m in self.right(other, 5)):
                    return None  # "at least" here opens the next comparison
                if other.text.lower() in ("on", "up", "minimum", "maximum") and skipped > 2:
                    return None
                return "ge" if "ge_after" in other.tags else "le"
            if other and not other.tags & _UNIT_TAGS:
                return None
            place = other.end if other else place + 1
            skipped += 1
        return None

    def _is_range(self, first: Mention, second: Mention, operators: dict[int, str]) -> bool:
        middle = self.between(first, second)
        apart = len(middle) > 8 or any(word in STOPS or word == "," for word in middle)
        apart = apart or any("decimals" in m.tags for m in self.at[first.end : second.start] if m)
        apart = apart or bool({"decimal", "decimals"} & set(self.span(second.end, second.end + 1)))
        if apart or first.soft or second.soft or first.tags != second.tags or first.tags & {"value", "quote"}:
            return False
        opened = self._opens_range(first)
        if "and" in middle and opened:
            return True
        fits = operators[first.start] in ("eq", "ge") and operators[second.start] in ("eq", "le", "lt")
        near = opened or len(middle) <= 5 or operators[first.start] == "ge"
        return fits and near and bool(_RANGE_WORDS & set(middle))

    def _opens_range(self, first: Mention) -> bool:
        return any("between" in other.tags for other in self.left(first, 5))

    # --- negation ---

    @cached_property
    def negations(self) -> list[Mention]:
        """Those that may turn a condition: not "not above 5", nor those about gaps in ranks or repeated rows."""
        turning = (cue for cue in self.tagged("not") if cue.start not in self.flips)
        return [cue for cue in turning if not self.about_gaps(cue) and not self.about_repeats(cue)]

    def about_gaps(self, cue: Mention) -> bool:
        return any("gaps" in other.tags for other in self.right(cue, 4))

    def about_repeats(self, cue: Mention) -> bool:
        """ "no name appearing twice"."""
        return any("twice" in other.tags for other in self.right(cue, 6))

    def negated(self, anchor: Mention, anchors: list[Mention]) -> int:
        """How many free negations belong to this anchor, of all the things that could be negated."""
        return sum(1 for cue in self.negations if self._owner(cue, anchors) is anchor)

    def _owner(self, cue: Mention, anchors: list[Mention]) -> Mention | None:
        if cue in anchors:
            return cue
        here = self.sentence(cue.start)
        same = [anchor for anchor in anchors if self.sentence(anchor.start) == here]
        after = [anchor for anchor in same if anchor.start >= cue.end]
        before = [anchor for anchor in same if anchor.end <= cue.start]
        return after[0] if after else before[-1] if before else None

    def unowned(self, anchors: list[Mention]) -> list[Mention]:
        return [cue for cue in self.negations if self._owner(cue, anchors) is None]


def _comparison(tags: frozenset[str]) -> str | None:
    return next((op for op in ("ge", "le", "gt", "lt", "ne", "eq") if op in tags), None)
