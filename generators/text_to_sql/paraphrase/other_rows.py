"""Conditions that compare a row with other rows: the newest date, an average, a row called by its name, a whole set."""

from generators.text_to_sql.grammar.plan import Covers, Ref, VersusNamed
from generators.text_to_sql.paraphrase.binding import candidates, lock_beside
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import plain_words

SAYS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most", "eq": "exactly", "ne": "other than"}
_OWN = ("their", "its")
_NOT_BEFORE = plain_words("not_before")


class OtherRows:
    """Each method checks one kind of filter."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

    def recent(self, days: int) -> None:
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

    def versus_average(self, ref: Ref, op: str) -> None:
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
            self._problem(f"should be {SAYS[op]} the average")

    def versus_named(self, filter_: VersusNamed) -> None:
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
            self._problem(f"should be {SAYS[filter_.op]} that of {filter_.name!r}")
        if not heard:
            self._problem(f"missing literal {filter_.name!r}")

    def covers(self, filter_: Covers) -> None:
        """ "that have orders of every status that occurs"."""
        columns = [m for m in self.reading.mentions if (filter_.table, filter_.column) in m.columns]
        every = ({"every", "each", "all"} & set(self.reading.span(max(0, m.start - 3), m.start)) for m in columns)
        if not any(every):
            self._problem(f"every {filter_.column} of {filter_.table} is not asked for")

    def peers(self, ref: Ref, within: Ref | None) -> None:
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
