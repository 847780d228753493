"""Do the conditions of a plan stand in the question: column, direction, literal and negation of each, and no more?"""

from dataclasses import dataclass, field

from generators.text_to_sql.grammar.plan import (
    Between,
    ChildCount,
    Comparison,
    Filter,
    Having,
    HavingMean,
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
)
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.reading import BETWEEN, Mention, Reading
from generators.text_to_sql.paraphrase.tokens import lemma

_SAYS = {
    "gt": "more than", "ge": "at least", "lt": "less than", "le": "at most", "eq": "exactly", "ne": "other than",
}  # fmt: skip


@dataclass
class Conditions:
    """Collects `problems`; `used` are the literals that the plan accounts for."""

    facts: Facts
    reading: Reading
    problems: list[str] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    locked: set[int] = field(default_factory=set)
    """Where columns stand that only say what a literal is about: "with a fee above 50"."""
    anchors: list[Mention] = field(default_factory=list)

    def check(self) -> None:
        self.anchors = self._anchors()
        expected: list[Mention] = []
        for filter_ in self.facts.filters:
            expected += self._filter(filter_)
        if isinstance(self.facts.plan.having, Having):
            self._having(self.facts.plan.having)
        self._stray_negations(expected)

    # --- what can be negated ---

    def _anchors(self) -> list[Mention]:
        """Literals, flags, partner tables and columns asked to be missing, in the order of the text."""
        partners = {f.table for f in self.facts.filters if isinstance(f, Partner)}
        missing = {(f.ref.table, f.ref.column) for f in self.facts.filters if isinstance(f, Missing)}
        found = [
            mention
            for mention in self.reading.mentions
            if (mention in self.reading.literals and not mention.soft)
            or "flag" in mention.tags
            or (mention.table in partners)
            or (mention.columns & missing)
            or (missing and mention.tags & {"null_missing", "null_present"})
        ]
        return sorted(found, key=lambda mention: mention.start)

    def _negations(self, mention: Mention) -> int:
        own = self.reading.operators.get(mention.start) == "ne" and "not" not in mention.tags
        return self.reading.negated(mention, self.anchors) + own

    def _stray_negations(self, expected: list[Mention]) -> None:
        """Negations that no condition of the plan explains."""
        allowed = {mention.start for mention in expected}
        if any(isinstance(item, ChildCount) for item in self.facts.selected):
            return  # "also those with none"
        for anchor in self.anchors:
            if self._negations(anchor) and anchor.start not in allowed:
                self.problems.append(f"negation added before {anchor.text!r}")
        for cue in self.reading.unowned(self.anchors):
            self.problems.append(f"negation added: {cue.text!r}")

    # --- filters ---

    def _filter(self, filter_: Filter, inside: bool = False) -> list[Mention]:
        """Checks one filter; returns the mentions that it lets be negated."""
        match filter_:
            case Comparison(ref, op, value):
                if self.facts.catalog.column(ref).kind == "flag":
                    return self._flag(ref, (op == "eq") == bool(value), inside)
                return self._compared(ref, op, value, inside)
            case Between(ref, low, high):
                self._between(ref, low, high)
            case Membership(ref, values, negated):
                return self._member(ref, values, negated)
            case Pattern(ref, how, text, negated):
                return self._pattern(ref, how, text, negated)
            case Missing(ref, negated):
                return self._missing(ref, negated)
            case InPeriod(ref, period):
                from_ = any(self.reading.opened_by(m) == "from" for m in self._candidates(period, ref))
                self._literal(ref, "ge" if from_ else "eq", period)  # "enrolments from April 2024"
            case Recent(ref, days):
                self._recent(ref, days)
            case Partner():
                return self._partner(filter_)
            case VersusAverage(ref, op):
                self._versus_average(ref, op)
            case TopGroup(group):
                for cue in self.reading.tagged("high", "low"):
                    self._lock_near(group, cue, cue.start)
        return []

    def _compared(self, ref: Ref, op: str, value: Literally, inside: bool = False) -> list[Mention]:
        """`inside` a Partner: "no 'open' order", where the negation may be the partner's."""
        if op not in ("eq", "ne"):
            self._literal(ref, op, value)
            return []
        mention = self._find(ref, value)
        if mention is None:
            self.problems.append(f"missing literal {value!r}")
            return []
        if self.reading.operators[mention.start] not in ("eq", "ne"):
            self.problems.append(f"{value!r} is compared, not equal")
        if not inside and bool(self._negations(mention)) != (op == "ne"):
            self.problems.append(f"negation of {value!r} {'lost' if op == 'ne' else 'added'}")
        return [mention]

    def _literal(self, ref: Ref | None, op: str, value: Literally) -> None:
        """A literal on this column in this direction."""
        heard = [m for m in self._candidates(value, ref) if m.start not in self.used]
        right = [m for m in heard if self.reading.operators[m.start] == op and self._about(m, ref)]
        if right:
            self.used.add(right[0].start)
        elif not heard:
            self.problems.append(f"missing literal {value!r}")
        elif any(self.reading.operators[m.start] == op for m in heard):
            self.problems.append(f"{value!r} is not about {ref.column if ref else 'the count'}")
            self.used.add(heard[0].start)
        else:
            self.problems.append(f"{value!r} should be '{_SAYS[op]}'")
            self.used.add(heard[0].start)

    def _between(self, ref: Ref, low: Literally, high: Literally) -> None:
        """Both ends; one of them beside the column is enough: "between 0 and 500 euros of compensation"."""
        ends = [
            next((m for m in self._candidates(value, ref) if self.reading.operators[m.start] == op), None)
            for value, op in ((low, "ge"), (high, "le"))
        ]
        if ends[0] and ends[1] and any(self._about(end, ref) for end in ends if end):
            self.used |= {end.start for end in ends if end}
            return
        self._literal(ref, "ge", low)
        self._literal(ref, "le", high)

    def _find(self, ref: Ref, value: Literally) -> Mention | None:
        for mention in self._candidates(value, ref):
            if mention.start not in self.used and self._about(mention, ref):
                self.used.add(mention.start)
                return mention
        return None

    def _candidates(self, value: Literally, ref: Ref | None) -> list[Mention]:
        """Where the value is heard; 6 with the unit "million euros" also as 6 million."""
        unit = self.facts.catalog.column(ref).unit or "" if ref else ""
        scale = _SCALES.get(unit.split(" ")[0], 1)
        scaled = value if isinstance(value, str) else value * scale
        return [m for m in self.reading.literals if _same(m.value, value) or _same(m.value, scaled)]

    def _about(self, literal: Mention, ref: Ref | None) -> bool:
        """The literal is said of this column: the nearest column named, or the only one it can be about."""
        if ref is None:
            return True
        key = (ref.table, ref.column)
        near = self._governors(literal)
        for mention in near:
            if key in mention.columns:
                if self._adjacent(mention, literal):
                    self.locked.add(mention.start)
                return True
        if any("column" in mention.tags and self._adjacent(mention, literal) for mention in near):
            return False
        return literal.value_of == {key} or self._only_possible(literal, ref)

    def _governors(self, literal: Mention) -> list[Mention]:
        """The nearest column before the literal in its sentence, and one close behind it."""
        left = next((m for m in self.reading.left(literal) if m.columns or m.tags & {"avg", "count"}), None)
        right = next((m for m in self.reading.right(literal, 6) if m.columns), None)
        if right is not None and any(word in (",", ":", "-", "and") for word in self.reading.between(literal, right)):
            right = None
        return [mention for mention in (left, right) if mention is not None]

    def _adjacent(self, column: Mention, literal: Mention) -> bool:
        """Nothing but a comparison between them."""
        if not column.end <= literal.start <= column.end + 7:
            return False
        at = self.reading.at[column.end : literal.start]
        plain = [word for word, mention in zip(self.reading.between(column, literal), at, strict=True) if mention is None]
        return all(m.tags & _COMPARISONS for m in at if m) and set(plain) <= BETWEEN

    def _only_possible(self, literal: Mention, ref: Ref) -> bool:
        """No other column in play has this unit, or is a date."""
        column = self.facts.catalog.column(ref)
        columns = [c for name in self.facts.tables() for c in self.facts.catalog.table(name).columns]
        if column.kind == "date":
            return [c.kind for c in self.facts.catalog.table(ref.table).columns].count("date") == 1
        if not column.unit or column.unit == "year":
            return False
        spoken = {lemma(word) for word in column.unit.lower().split()} | _CURRENCY.get(column.unit, set())
        after = [token.lemma or token.lower for token in self.reading.tokens[literal.end : literal.end + 3]]
        after += [token.lower for token in self.reading.tokens[max(0, literal.start - 1) : literal.start]]
        return bool(spoken & set(after)) and [c.unit for c in columns].count(column.unit) == 1

    def _member(self, ref: Ref, values: tuple[Literally, ...], negated: bool) -> list[Mention]:
        found: list[Mention] = []
        for value in values:
            mention = next((m for m in self._candidates(value, ref) if m.start not in self.used), None)
            if mention is None:
                self.problems.append(f"missing literal {value!r}")
                continue
            self.used.add(mention.start)
            found.append(mention)
        if found and not any(self._about(mention, ref) for mention in found):
            self.problems.append(f"{values!r} is not about {ref.column}")
        if any(self.reading.operators[m.start] not in ("eq", "ne") for m in found):
            self.problems.append(f"{values!r} is compared, not listed")
        if any(self._negations(mention) for mention in found) != negated:
            self.problems.append(f"negation of {values!r} {'lost' if negated else 'added'}")
        return found

    def _pattern(self, ref: Ref, how: str, text: str, negated: bool) -> list[Mention]:
        mention = self._find(ref, text)
        if mention is None:
            self.problems.append(f"missing text {text!r} of {ref.column}")
            return []
        near = [m for m in (*self.reading.left(mention, 7), *self.reading.right(mention, 6))]
        said = {tag for m in near for tag in m.tags & {"starts", "ends", "contains"}}
        after = [token.lower for token in self.reading.tokens[mention.end : mention.end + 1]]
        if not said and after and after[0] in ("in", "somewhere", "anywhere"):
            said = {"contains"}
        if how not in said or (said - {how} and not _nearest_is(near, how)):
            self.problems.append(f"{text!r} should be what {ref.column} {how}")
        if bool(self._negations(mention)) != negated:
            self.problems.append(f"negation of {text!r} {'lost' if negated else 'added'}")
        return [mention]

    def _flag(self, ref: Ref, holds: bool, inside: bool) -> list[Mention]:
        key = (ref.table, ref.column)
        mentions = [m for m in self.anchors if key in m.columns]
        if not mentions:
            self.problems.append(f"missing condition {ref.column}")
        elif not inside and bool(self._negations(mentions[0])) == holds:
            self.problems.append(f"negation of {ref.column} {'added' if holds else 'lost'}")
        return mentions

    def _missing(self, ref: Ref, negated: bool) -> list[Mention]:
        """Missing: "without a payment date", "payment date is not recorded"; negated: "payment date is known"."""
        key = (ref.table, ref.column)
        cues = self.reading.tagged("null_missing", "null_present")
        mine = [m for m in self.anchors if key in m.columns or m in cues]
        if not any(key in m.columns for m in mine):
            return []
        turns = sum(self._negations(m) for m in mine) + sum(1 for m in cues if "null_missing" in m.tags)
        said = bool(cues) or bool(turns) or bool({"have", "has", "with"} & {token.lower for token in self.reading.tokens})
        if turns % 2 == negated or not said:
            self.problems.append(f"{ref.column} should be {'known' if negated else 'missing'}")
        return mine

    def _recent(self, ref: Ref, days: int) -> None:
        for mention in self._candidates(days, None):
            unit = next(iter(self.reading.right(mention, 2)), None)
            if unit and "days" in unit.tags and self.reading.operators[mention.start] not in ("gt", "ge", "lt"):
                self.used.add(mention.start)
                break
        else:
            self.problems.append(f"missing the last {days} days")
        dated = [m for m in self.reading.tagged("late") if not any("number" in n.tags and not n.soft for n in self.reading.right(m, 1))]
        if not dated:
            self.problems.append("missing the newest date that the days are counted from")

    def _partner(self, filter_: Partner) -> list[Mention]:
        mentions = [m for m in self.anchors if m.table == filter_.table]
        if not mentions:
            self.problems.append(f"missing table {filter_.table}")
            return []
        turned = any(self._negations(m) for m in mentions)
        narrowed: list[Mention] = []
        if filter_.having:
            narrowed = self._filter(filter_.having, inside=True)
            extra = sum(self._negations(m) for m in narrowed[:1]) - self._is_negative(filter_.having)
            if extra not in (0, 1) or (extra and turned):
                self.problems.append(f"negation of {filter_.having.ref.column} {'added' if extra > 0 else 'lost'}")
            turned = turned or extra > 0  # "no settled claim": the claim is denied, not its settlement
        if turned != filter_.negated:
            self.problems.append(f"negation of {filter_.table} {'lost' if filter_.negated else 'added'}")
        return mentions + narrowed

    def _is_negative(self, filter_: Comparison) -> bool:
        is_flag = self.facts.catalog.column(filter_.ref).kind == "flag"
        return (filter_.op == "eq") != bool(filter_.value) if is_flag else filter_.op == "ne"

    def _lock_near(self, ref: Ref, cue: Mention, start: int) -> None:
        """The column beside the cue is part of the condition: "a fee above the average fee" shows no fee.

        `start`: where the cue, or the comparison in front of it, starts.
        """
        right = next((m for m in self.reading.right(cue, 4) if m.columns), None)
        left = next((m for m in self.reading.left(cue, 9) if m.columns), None)
        beside = left is not None and set(self.reading.between(left, cue)[: start - left.end]) <= _LINKS
        for column in (right, left if beside else None):
            if column and (ref.table, ref.column) in column.columns:
                self.locked.add(column.start)

    def _versus_average(self, ref: Ref, op: str) -> None:
        """ "above the average", "a below-average fee", "exceeds the mean"."""
        for mean in self.reading.tagged("avg"):
            before = next((m for m in self.reading.left(mean, 5) if m.tags & {"gt", "lt"}), mean)
            self._lock_near(ref, mean, before.start)
        said = self.reading_of_averages()
        if op not in said or len(set(said)) > 1:
            self.problems.append(f"should be {_SAYS[op]} the average")

    def reading_of_averages(self) -> list[str]:
        """The directions in which something is compared with an average."""
        found: list[str] = []
        for mean in self.reading.tagged("avg"):
            before = next((m for m in self.reading.left(mean, 5) if m.tags & {"gt", "lt"}), None)
            if before and not any(m.tags & {"avg"} for m in self.reading.left(mean, mean.start - before.end)):
                found.append("gt" if "gt" in before.tags else "lt")
            elif "than" in [token.lower for token in self.reading.tokens[max(0, mean.start - 2) : mean.start]]:
                split = next((m for m in self.reading.left(mean, 9) if m.tags & {"more", "fewer"}), None)
                found += ["gt" if "more" in split.tags else "lt"] if split else []  # "more persons than the average"
        return found

    # --- groups ---

    def _having(self, having: Having) -> None:
        """A bound on a count is about the rows; on another aggregate, about its column."""
        self._literal(having.of.ref, having.op, having.value)


_COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "between", "not", "contains", "starts", "ends", "months", "years"})
_LINKS = frozenset({"is", "are", "lies", "lie", "be", "was", "stays", "with", "has", "that", "the", "of", "one"})
_SCALES = {"thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_CURRENCY = {
    "euros": {"€", "eur", "euro"},
    "US dollars": {"$", "usd", "dollar"},
    "dollars": {"$", "usd", "dollar"},
    "pounds": {"£", "gbp", "pound"},
    "percent": {"%"},
}


def _same(heard: int | float | str | None, value: Literally) -> bool:
    if isinstance(heard, str) or isinstance(value, str):
        return str(heard) == str(value)
    return heard is not None and abs(heard - value) < 1e-9


def _nearest_is(near: list[Mention], how: str) -> bool:
    first = next((m for m in near if m.tags & {"starts", "ends", "contains"}), None)
    return first is not None and how in first.tags


