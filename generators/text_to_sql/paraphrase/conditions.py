"""Do the conditions of a plan stand in the question: column, direction, literal and negation of each, and no more?"""

from collections import Counter
from itertools import pairwise

from generators.text_to_sql.grammar.plan import (
    Between,
    ChildCount,
    ChildTotal,
    Comparison,
    Covers,
    Either,
    Filter,
    Having,
    InPeriod,
    Literally,
    Membership,
    Missing,
    Partner,
    Pattern,
    Recent,
    Ref,
    TopGroup,
    VersusAverage,
    VersusNamed,
)
from generators.text_to_sql.paraphrase.binding import candidates, is_about, lock_after, lock_beside
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import plain_words

_SAYS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most", "eq": "exactly", "ne": "other than"}
_LIKES = frozenset({"starts", "ends", "contains"})
_OWN = ("their", "its")
_NOT_BEFORE = plain_words("not_before")


class Conditions:
    """Each method checks one kind of filter and returns the mentions that it lets be negated."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading
        self.anchors = self._anchors()

    def check(self) -> None:
        expected: list[Mention] = []
        blocks = []
        for filter_ in self.facts.filters:
            mentions, block = self._noted(filter_)
            expected += mentions
            blocks.append(block)
        for item in self.facts.conditionals():
            expected += self._filter(item.condition)
        having = self.facts.plan.having
        if isinstance(having, Having):
            self._literal(having.of.ref, having.op, having.value)
        self._alternatives(blocks)
        if self.facts.plan.combine == "except":
            self._taken_off(blocks)
        elif not self._counts_none():
            self._stray_negations({mention.start for mention in expected})

    def _counts_none(self) -> bool:
        """ "also those with none", "months without any": what the plan counts may be nothing."""
        counted = any(isinstance(item, ChildCount | ChildTotal) for item in self.facts.selected)
        return counted or self.facts.plan.shape == "series"

    def _noted(self, filter_: Filter) -> tuple[list[Mention], set[int]]:
        """What may be negated of the filter, and where it stands."""
        before = set(self.evidence.used)
        mentions = self._filter(filter_)
        return mentions, (self.evidence.used - before) | {mention.start for mention in mentions}

    # --- and, or, not ---

    def _alternatives(self, blocks: list[set[int]]) -> None:
        """Conditions of their own are never joined by "or"."""
        places = sorted((block for block in blocks if block), key=min)
        joined_by_union = self.facts.plan.union is not None
        for one, other in pairwise(places):
            if not joined_by_union and self._or_between(one, other):
                self._problem("conditions are joined by 'or'")

    def _or_between(self, one: set[int], other: set[int]) -> bool:
        """A free "or", which is no part of "or more" and stands between no two values of one list."""
        first, second = sorted((one, other), key=min)
        for place in range(max(first, default=0), min(second, default=0)):
            mention = self.reading.at[place]
            if self.reading.span(place, place + 1) == ["or"] and (mention is None or mention.text.lower() == "or"):
                return True
        return False

    def _either(self, filter_: Either) -> list[Mention]:
        found, one = self._noted(filter_.first)
        more, other = self._noted(filter_.second)
        if not (one and other and self._or_between(one, other)):
            self._problem("two conditions should be joined by 'or'")
        return [*found, *more]

    def _taken_off(self, blocks: list[set[int]]) -> None:
        """ "that occur among ... but not among ...": one negation, between the two conditions."""
        one, other = [*blocks, set(), set()][:2]
        cues = self.reading.negations
        if not (one and other and len(cues) == 1 and max(one) < cues[0].start < min(other)):
            self._problem("the second set is not taken off the first")

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

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

    def _negations(self, mention: Mention) -> int:
        if self.facts.plan.combine == "except":
            return 0  # the only "not" takes one set off the other
        own = self.reading.operators.get(mention.start) == "ne" and "not" not in mention.tags
        return self.reading.negated(mention, self.anchors) + own

    def _turned(self, what: object, mentions: list[Mention], negated: bool) -> None:
        """The mentions must be negated, any of them, just if the filter is."""
        if any(self._negations(mention) for mention in mentions) != negated:
            self._problem(f"negation of {what} {'lost' if negated else 'added'}")

    def _stray_negations(self, allowed: set[int]) -> None:
        """Negations that no condition of the plan explains."""
        for anchor in self.anchors:
            if self._negations(anchor) and anchor.start not in allowed:
                self._problem(f"negation added before {anchor.text!r}")
        for cue in self.reading.unowned(self.anchors):
            self._problem(f"negation added: {cue.text!r}")

    # --- filters ---

    def _filter(self, filter_: Filter, inside: bool = False) -> list[Mention]:
        """`inside` a Partner the negation may be the partner's: "no 'open' order"."""
        match filter_:
            case Comparison(ref, op, value):
                if self.facts.catalog.column(ref).kind == "flag":
                    return self._flag(ref, (op == "eq") == bool(value), inside)
                if op in ("eq", "ne"):
                    return self._equal(ref, value, op == "ne", inside)
                self._literal(ref, op, value)
            case Between(ref, low, high):
                self._between(ref, low, high)
            case Membership(ref, values, negated):
                return self._member(ref, values, negated)
            case Pattern():
                return self._pattern(filter_)
            case Missing(ref, negated):
                return self._missing(ref, negated)
            case InPeriod(ref, period):
                heard = candidates(period, ref, self.evidence)
                since = any(self.reading.opened_by(mention) == "from" for mention in heard)
                self._literal(ref, "ge" if since else "eq", period)  # "enrolments from April 2024"
            case Recent(days=days):
                self._recent(days)
            case Partner():
                return self._partner(filter_)
            case VersusAverage(ref, op, within):
                self._versus_average(ref, op)
                self._peers(ref, within)
                lock_after(within, ("same", "own"), self.evidence)
            case Either():
                return self._either(filter_)
            case VersusNamed():
                self._versus_named(filter_)
            case Covers():
                self._covers(filter_)
            case TopGroup(group, of):
                for cue in self.reading.tagged("high", "low"):
                    for column in (group, *((of.ref,) if of.ref else ())):
                        lock_beside(column, cue, cue.start, self.evidence)
        return []

    def _heard(self, value: Literally, ref: Ref | None) -> list[Mention]:
        return self.evidence.unused(candidates(value, ref, self.evidence))

    def _equal(self, ref: Ref, value: Literally, negated: bool, inside: bool) -> list[Mention]:
        mention = self._find(ref, value)
        if mention is None:
            return []
        if self.reading.operators[mention.start] not in ("eq", "ne"):
            self._problem(f"{value!r} is compared, not equal")
        if not inside:
            self._turned(repr(value), [mention], negated)
        return [mention]

    def _find(self, ref: Ref, value: Literally) -> Mention | None:
        for mention in self._heard(value, ref):
            if is_about(mention, ref, self.evidence):
                self.evidence.use(mention)
                return mention
        self._problem(f"missing literal {value!r} of {ref.column}")
        return None

    def _literal(self, ref: Ref | None, op: str, value: Literally) -> None:
        """A literal in this direction, on this column; without a column it bounds a count of rows."""
        heard = self._heard(value, ref)
        directed = [m for m in heard if self.reading.operators[m.start] == op]
        right = [m for m in directed if ref is None or is_about(m, ref, self.evidence)]
        if not heard:
            self._problem(f"missing literal {value!r}")
        elif not directed:
            self._problem(f"{value!r} should be '{_SAYS[op]}'")
        elif not right:
            self._problem(f"{value!r} is not about {ref.column if ref else 'the count'}")
        for mention in (right or heard)[:1]:
            self.evidence.use(mention)

    def _between(self, ref: Ref, low: Literally, high: Literally) -> None:
        """Both ends; one of them beside the column is enough: "between 0 and 500 euros of compensation"."""
        ends = [
            mention
            for value, op in ((low, "ge"), (high, "le"))
            for mention in candidates(value, ref, self.evidence)
            if self.reading.operators[mention.start] == op
        ]
        about = [is_about(end, ref, self.evidence) for end in ends]
        if len({self.reading.operators[end.start] for end in ends}) == 2 and any(about):
            self.evidence.used |= {end.start for end in ends}
        else:
            self._literal(ref, "ge", low)
            self._literal(ref, "le", high)

    def _member(self, ref: Ref, values: tuple[Literally, ...], negated: bool) -> list[Mention]:
        found: list[Mention] = []
        for value in values:
            heard = self._heard(value, ref)[:1]
            if not heard:
                self._problem(f"missing literal {value!r}")
            for mention in heard:
                self.evidence.use(mention)
            found += heard
        if found and not any(is_about(mention, ref, self.evidence) for mention in found):
            self._problem(f"{values!r} is not about {ref.column}")
        if any(self.reading.operators[mention.start] not in ("eq", "ne") for mention in found):
            self._problem(f"{values!r} is compared, not listed")
        self._turned(values, found, negated)
        return found

    def _pattern(self, filter_: Pattern) -> list[Mention]:
        mention = self._find(filter_.ref, filter_.text)
        if mention is None:
            return []
        likes = [m for m in (*self.reading.left(mention, 7), *self.reading.right(mention, 6)) if m.tags & _LIKES]
        after = set(self.reading.span(mention.end, mention.end + 1))
        inside = not likes and bool(after & {"in", "somewhere", "anywhere"})  # "with 'x' in the name"
        if filter_.how not in (likes[0].tags if likes else {"contains"} if inside else ()):
            self._problem(f"{filter_.text!r} should be what {filter_.ref.column} {filter_.how}")
        self._turned(repr(filter_.text), [mention], filter_.negated)
        return [mention]

    def _flag(self, ref: Ref, holds: bool, inside: bool) -> list[Mention]:
        mentions = [mention for mention in self.anchors if (ref.table, ref.column) in mention.columns]
        if not mentions:
            self._problem(f"missing condition {ref.column}")
        elif not inside:
            self._turned(ref.column, mentions[:1], not holds)
        return mentions

    def _missing(self, ref: Ref, negated: bool) -> list[Mention]:
        """Missing: "without a payment date", "payment date is not recorded"; negated: "payment date is known"."""
        key = (ref.table, ref.column)
        cues = self.reading.tagged("null_missing", "null_present")
        mine = [mention for mention in self.anchors if key in mention.columns or mention in cues]
        if not any(key in mention.columns for mention in mine):
            return []  # the column is missing from the question: found elsewhere
        turns: Counter[int] = Counter()
        for mention in mine:
            turns[self.reading.sentence(mention.start)] += self._negations(mention) + ("null_missing" in mention.tags)
        odd = {count % 2 for count in turns.values() if count}  # "no purpose on record? Show the (empty) purpose"
        said = bool(cues) or bool(odd) or any(token.lower in ("have", "has", "with") for token in self.reading.tokens)
        if odd not in (({0}, set()) if negated else ({1},)) or not said:
            self._problem(f"{ref.column} should be {'known' if negated else 'missing'}")
        return mine

    def _recent(self, days: int) -> None:
        for mention in candidates(days, None, self.evidence):
            unit = next(self.reading.right(mention, 2), None)
            if unit and "days" in unit.tags and self._reaches_back(mention, unit):
                self.evidence.use(mention)
                break
        else:
            self._problem(f"missing the last {days} days")
        if not any(self._names_newest(cue) for cue in self.reading.tagged("late")):
            self._problem("missing the newest date that the days are counted from")

    def _reaches_back(self, number: Mention, unit: Mention) -> bool:
        """ "within 30 days of", "at most 30 days before", or "no earlier than 30 days before" the newest date."""
        if self.reading.operators[number.start] == "ge":
            before = {"before", "prior"} & set(self.reading.span(unit.end, unit.end + 1))
            return bool(before) and self.reading.opened_by(number) in _NOT_BEFORE
        return self.reading.operators[number.start] not in ("gt", "lt")

    def _names_newest(self, cue: Mention) -> bool:
        """ "the latest order date", not the "last" of "the last 30 days", which could be those before today."""
        following = next(self.reading.right(cue, 1), None)
        return following is None or "number" not in following.tags or following.soft

    def _partner(self, filter_: Partner) -> list[Mention]:
        mentions = [mention for mention in self.anchors if mention.table == filter_.table]
        if not mentions:
            self._problem(f"missing table {filter_.table}")
            return []
        turned = any(map(self._negations, mentions))
        narrowed: list[Mention] = []
        if filter_.having:
            narrowed = self._filter(filter_.having, inside=True)
            extra = sum(map(self._negations, narrowed[:1])) - self._is_negative(filter_.having)
            if extra not in (0, 1) or (extra and turned):
                self._problem(f"negation of {filter_.having.ref.column} {'added' if extra > 0 else 'lost'}")
            turned = turned or extra > 0  # "no settled claim": the claim is denied, not its settlement
        if turned != filter_.negated:
            self._problem(f"negation of {filter_.table} {'lost' if filter_.negated else 'added'}")
        return mentions + narrowed

    def _is_negative(self, filter_: Comparison) -> bool:
        is_flag = self.facts.catalog.column(filter_.ref).kind == "flag"
        return (filter_.op == "eq") != bool(filter_.value) if is_flag else filter_.op == "ne"

    def _versus_average(self, ref: Ref, op: str) -> None:
        """ "above the average", "a below-average fee", "exceeds the mean", "more persons than the average"."""
        said: set[str] = set()
        for mean in self.reading.tagged("avg"):
            before = next((m for m in self.reading.left(mean, 5) if m.tags & {"gt", "lt"}), None)
            lock_beside(ref, mean, (before or mean).start, self.evidence)
            if before and not any("avg" in m.tags for m in self.reading.left(mean, mean.start - before.end)):
                said.add("gt" if "gt" in before.tags else "lt")
            elif "than" in self.reading.span(max(0, mean.start - 2), mean.start):
                split = next((m for m in self.reading.left(mean, 9) if m.tags & {"more", "fewer"}), None)
                if split:  # "orders that cost more than the average" show no cost
                    lock_beside(ref, split, split.start, self.evidence)
                said |= {"gt" if "more" in split.tags else "lt"} if split else set()
        if said != {op}:
            self._problem(f"should be {_SAYS[op]} the average")

    def _versus_named(self, filter_: VersusNamed) -> None:
        """ "whose fee is higher than that of 'X'", "with the same reason as 'X', besides 'X' itself"."""
        heard = [m for m in self.reading.literals if m.value == filter_.name]
        key = (filter_.ref.table, filter_.ref.column)
        self.evidence.used |= {mention.start for mention in heard}
        columns = [m for m in self.reading.mentions if key in m.columns]
        said: set[str] = set()
        for name in heard:
            cue = next((m for m in self.reading.left(name, 9) if m.tags & {"gt", "lt"}), None)
            if cue:
                said |= cue.tags & {"gt", "lt"}
                self.evidence.locked |= {m.start for m in columns if 0 <= cue.start - m.end <= 4}
        words = {token.lower for token in self.reading.tokens}
        if filter_.op == "eq":
            alike = bool(words & {"same", "share", "shares", "sharing", "has"})
            if said or not alike or not self.reading.tagged("besides"):
                self._problem(f"should be the same {filter_.ref.column} as that of {filter_.name!r}, which is left out")
        elif said != {filter_.op}:
            self._problem(f"should be {_SAYS[filter_.op]} that of {filter_.name!r}")
        if not heard:
            self._problem(f"missing literal {filter_.name!r}")

    def _covers(self, filter_: Covers) -> None:
        """ "that have orders of every status that occurs"."""
        columns = [m for m in self.reading.mentions if (filter_.table, filter_.column) in m.columns]
        every = ({"every", "each", "all"} & set(self.reading.span(max(0, m.start - 3), m.start)) for m in columns)
        if not any(every):
            self._problem(f"every {filter_.column} of {filter_.table} is not asked for")

    def _peers(self, ref: Ref, within: Ref | None) -> None:
        """ "the average fee of orders with the same status": named with the average, or not at all."""
        means = self.reading.tagged("avg")
        if within is None:
            others = [m for mean in means for m in self.reading.right(mean, 8) if m.columns and self._is_own(m)]
            if any((ref.table, ref.column) not in m.columns for m in others):
                self._problem("an average of peers is added")
            return
        sentences = {self.reading.sentence(mean.start) for mean in means}
        named = [m for m in self.reading.mentions if (within.table, within.column) in m.columns or m.roles]
        if not any(self.reading.sentence(m.start) in sentences for m in named):
            self._problem(f"missing the average within {within.column}")

    def _is_own(self, mention: Mention) -> bool:
        """ "of their type", "in the same city"."""
        words = self.reading.span(max(0, mention.start - 3), mention.start)
        return words[-1:] == ["same"] or any(words[-2:] == [to, own] for to in ("of", "for", "in") for own in _OWN)
