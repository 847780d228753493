"""How conditions hang together in a question: what is denied, what stands as an alternative, what is taken off.

"orders that aren't paid"                    ->  the negation turns "paid"
"above 50 euros or with reason 'rash'"       ->  a free "or" between two conditions
"among the cheap ones but not among ..."     ->  the negation takes one set off the other
"""

from itertools import pairwise

from generators.text_to_sql.grammar.plan import ChildCount, ChildTotal, Covers, Missing, Partner
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention

Block = set[int]
"""Where the literals, flags and tables of one condition stand."""


class Connectives:
    """Of one question; what is wrong with them is noted in the evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading
        self.anchors = self._anchors()

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

    def check(self, blocks: list[Block], expected: list[Mention]) -> None:
        """The conditions stand in `blocks`, in the plan's order; the mentions `expected` may be negated."""
        self._alternatives(blocks)
        if self.facts.plan.combine == "except":
            self._taken_off(blocks)
        elif not self._counts_none():
            self._stray_negations({mention.start for mention in expected})

    def _counts_none(self) -> bool:
        """ "also those with none", "months without any": what the plan counts may be nothing."""
        counted = any(isinstance(item, ChildCount | ChildTotal) for item in self.facts.selected)
        return counted or self.facts.plan.shape == "series"

    # --- or ---

    def _alternatives(self, blocks: list[Block]) -> None:
        """Conditions of their own are never joined by "or"."""
        places = sorted((block for block in blocks if block), key=min)
        joined_by_union = self.facts.plan.union is not None
        for one, other in pairwise(places):
            if not joined_by_union and self.or_between(one, other):
                self._problem("conditions are joined by 'or'")

    def or_between(self, one: Block, other: Block) -> bool:
        """A free "or", which is no part of "or more" and stands between no two values of one list."""
        first, second = sorted((one, other), key=min)
        for place in range(max(first, default=0), min(second, default=0)):
            mention = self.reading.at[place]
            if self.reading.span(place, place + 1) == ["or"] and (mention is None or mention.text.lower() == "or"):
                return True
        return False

    def _taken_off(self, blocks: list[Block]) -> None:
        """ "that occur among ... but not among ...": one negation, between the two conditions."""
        one, other = [*blocks, set(), set()][:2]
        cues = self.reading.negations
        if not (one and other and len(cues) == 1 and max(one) < cues[0].start < min(other)):
            self._problem("the second set is not taken off the first")

    # --- negation ---

    def _anchors(self) -> list[Mention]:
        """What can be negated: literals, flags, partner tables and columns asked to be missing."""
        partners = {f.table for f in self.facts.filters if isinstance(f, Partner | Covers)}
        missing = {(f.ref.table, f.ref.column) for f in self.facts.filters if isinstance(f, Missing)}
        return [
            mention
            for mention in self.reading.mentions
            if self._is_literal(mention)
            or "flag" in mention.tags
            or mention.table in partners
            or mention.columns & missing
            or (missing and mention.tags & {"null_missing", "null_present"})
        ]

    def _is_literal(self, mention: Mention) -> bool:
        """One of the plan, or one that no plan has; not a word that some column happens to hold as a value."""
        ours = "value" not in mention.tags or mention.value in self.facts.strings | self.facts.patterns
        return mention in self.reading.literals and not mention.soft and ours

    def negations(self, mention: Mention) -> int:
        own = self.reading.operators.get(mention.start) == "ne" and "not" not in mention.tags
        if self.facts.plan.combine == "except":
            return own  # the only "not" takes one set off the other
        return self.reading.negated(mention, self.anchors) + own

    def turned(self, what: object, mentions: list[Mention], negated: bool) -> None:
        """The mentions must be negated, any of them, just if the filter is."""
        if any(self.negations(mention) for mention in mentions) != negated:
            self._problem(f"negation of {what} {'lost' if negated else 'added'}")

    def _stray_negations(self, allowed: set[int]) -> None:
        """Negations that no condition of the plan explains."""
        for anchor in self.anchors:
            if self.negations(anchor) and anchor.start not in allowed:
                self._problem(f"negation added before {anchor.text!r}")
        for cue in self.reading.unowned(self.anchors):
            self._problem(f"negation added: {cue.text!r}")
