"""Do the conditions of a plan stand in the question: column, direction, literal and negation of each, and no more?"""

from collections import Counter

from generators.text_to_sql.grammar.plan import (
    Between,
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
from generators.text_to_sql.paraphrase.connectives import Block, Connectives
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.other_rows import SAYS, OtherRows

_LIKES = frozenset({"starts", "ends", "contains"})


class Conditions:
    """Each method checks one kind of filter and returns the mentions that it lets be negated."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading
        self.connectives = Connectives(evidence)
        self.anchors, self.others = self.connectives.anchors, OtherRows(evidence)

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
        self.connectives.check(blocks, expected)

    def _noted(self, filter_: Filter) -> tuple[list[Mention], Block]:
        """What may be negated of the filter, and where it stands."""
        before = set(self.evidence.used)
        mentions = self._filter(filter_)
        return mentions, (self.evidence.used - before) | {mention.start for mention in mentions}

    def _either(self, filter_: Either) -> list[Mention]:
        found, one = self._noted(filter_.first)
        more, other = self._noted(filter_.second)
        if not (one and other and self.connectives.or_between(one, other)):
            self._problem("two conditions should be joined by 'or'")
        return [*found, *more]

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

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
                self.others.recent(days)
            case Partner():
                return self._partner(filter_)
            case VersusAverage(ref, op, within):
                self.others.versus_average(ref, op)
                self.others.peers(ref, within)
                lock_after(within, ("same", "own"), self.evidence)
            case Either():
                return self._either(filter_)
            case VersusNamed():
                self.others.versus_named(filter_)
            case Covers():
                self.others.covers(filter_)
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
            self.connectives.turned(repr(value), [mention], negated)
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
            self._problem(f"{value!r} should be '{SAYS[op]}'")
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
        self.connectives.turned(values, found, negated)
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
        self.connectives.turned(repr(filter_.text), [mention], filter_.negated)
        return [mention]

    def _flag(self, ref: Ref, holds: bool, inside: bool) -> list[Mention]:
        mentions = [mention for mention in self.anchors if (ref.table, ref.column) in mention.columns]
        if not mentions:
            self._problem(f"missing condition {ref.column}")
        elif not inside:
            self.connectives.turned(ref.column, mentions[:1], not holds)
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
            turns[self.reading.sentence(mention.start)] += self.connectives.negations(mention) + (
                "null_missing" in mention.tags
            )
        odd = {count % 2 for count in turns.values() if count}  # "no purpose on record? Show the (empty) purpose"
        said = bool(cues) or bool(odd) or any(token.lower in ("have", "has", "with") for token in self.reading.tokens)
        if odd not in (({0}, set()) if negated else ({1},)) or not said:
            self._problem(f"{ref.column} should be {'known' if negated else 'missing'}")
        return mine

    def _partner(self, filter_: Partner) -> list[Mention]:
        mentions = [mention for mention in self.anchors if mention.table == filter_.table]
        if not mentions:
            self._problem(f"missing table {filter_.table}")
            return []
        turned = any(map(self.connectives.negations, mentions))
        narrowed: list[Mention] = []
        if filter_.having:
            narrowed = self._filter(filter_.having, inside=True)
            extra = sum(map(self.connectives.negations, narrowed[:1])) - self._is_negative(filter_.having)
            if extra not in (0, 1) or (extra and turned):
                self._problem(f"negation of {filter_.having.ref.column} {'added' if extra > 0 else 'lost'}")
            turned = turned or extra > 0  # "no settled claim": the claim is denied, not its settlement
        if turned != filter_.negated:
            self._problem(f"negation of {filter_.table} {'lost' if filter_.negated else 'added'}")
        return mentions + narrowed

    def _is_negative(self, filter_: Comparison) -> bool:
        is_flag = self.facts.catalog.column(filter_.ref).kind == "flag"
        return (filter_.op == "eq") != bool(filter_.value) if is_flag else filter_.op == "ne"
