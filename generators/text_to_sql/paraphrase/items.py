"""Is each computed column of a row or a group heard as it is: its cue, its columns beside it, its numbers and words?

"the fee in capital letters"              ->  Cased(fee, upper)
"the date 30 days after the issue date"   ->  Shifted(issue date, 30), and not 30 days before it
"""

from collections.abc import Callable, Iterable

from generators.text_to_sql.grammar.plan import (
    Arithmetic,
    Beginning,
    Cased,
    Combined,
    Conditional,
    DatePart,
    Default,
    Elapsed,
    EndValue,
    Item,
    Mapped,
    Median,
    Ref,
    Renamed,
    Shifted,
    TextList,
    Tile,
)
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import plain_words

_FORWARD, _BACK = plain_words("forward"), plain_words("back")
_STANDING_IN, _NAMING = plain_words("standing_in"), plain_words("naming")
_PIECES, _OPENING = plain_words("pieces"), plain_words("opening")
_SEPARATORS = {" ": {"space"}, ", ": {"comma", "space"}, " - ": {"hyphen", "space"}}
_NAMED_SEPARATORS = {"space": "space", "comma": "comma", "hyphen": "hyphen", "dash": "hyphen"}

_OWN_CUES: dict[str, Callable[[Item], bool]] = {
    "upper_case": lambda item: isinstance(item, Cased) and item.case == "upper",
    "lower_case": lambda item: isinstance(item, Cased) and item.case == "lower",
    "times": lambda item: isinstance(item, Arithmetic) and item.operator == "times",
    "one_text": lambda item: isinstance(item, Combined | TextList),
    "median": lambda item: isinstance(item, Median),
    "equal_parts": lambda item: isinstance(item, Tile),
}
"""Cues that speak of one kind of item and of nothing else."""


class Items:
    """Run after the conditions and before the columns; the numbers that it finds are used, the columns locked."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading

    def check(self) -> None:
        for item in self.facts.selected:
            if problem := self._problem_of(item):
                self.evidence.problems.append(problem)
        for tag, fits in _OWN_CUES.items():
            if self.reading.tagged(tag) and not any(map(fits, self.facts.selected)):
                self.evidence.problems.append(f"{tag} added")
        self._conditionals()

    def _problem_of(self, item: Item) -> str | None:
        match item:
            case Renamed(ref, name):
                found = self._renamed(ref, name)
            case Mapped():
                found = self._mapped(item)
            case Arithmetic():
                found = self._arithmetic(item)
            case Cased(ref, case):
                found = self._beside(f"{case}_case", ref)
            case Beginning(ref, count):
                found = self._beginning(ref, count)
            case Combined():
                found = self._combined(item)
            case Default(ref, value):
                found = self._default(ref, value)
            case Elapsed(start, end):
                found = bool(self.reading.tagged("days")) and self._in_turn(start, end)
                self.evidence.locked |= {m.start for m in self._pair(start, end) or ()}
            case Shifted(ref, days):
                found = self._shifted(ref, days)
            case DatePart(ref, part) if item not in self.facts.plan.group:
                found = self._beside(f"{part}s", ref)
            case Median(ref):
                found = self._beside("median", ref)
            case TextList(ref):
                found = self._text_list(ref)
            case Tile(count=count):
                found = self._tile(count)
            case EndValue():
                found = self._end_value(item)
            case _:
                found = True
        return None if found else f"missing {item}"

    # --- looking around ---

    def _of(self, ref: Ref) -> list[Mention]:
        return [m for m in self.reading.mentions if (ref.table, ref.column) in m.columns]

    def _near(self, one: Mention, other: Mention, span: int) -> bool:
        same = self.reading.sentence(one.start) == self.reading.sentence(other.start)
        return same and max(one.start - other.end, other.start - one.end) <= span

    def _beside(self, tag: str, ref: Ref, span: int = 8) -> bool:
        """The cue stands beside the column, which is then asked for in that form and not as it is."""
        cues = self.reading.tagged(tag)
        near = [m for m in self._of(ref) if any(self._near(cue, m, span) for cue in cues)]
        return self._lock(near, [cue.start for cue in cues])

    def _lock(self, mentions: list[Mention], places: Iterable[int]) -> bool:
        """Notes the mention nearest to a place as said of the computed column alone; whether there is one."""
        pairs = [(abs(m.start - place), m.start) for m in mentions for place in places]
        self.evidence.locked |= {min(pairs)[1]} if pairs else set()
        return bool(pairs)

    def _pair(self, one: Ref, other: Ref) -> tuple[Mention, Mention] | None:
        """The mentions of two columns that stand closest to each other."""
        pairs = [(a, b) for a in self._of(one) for b in self._of(other) if a is not b]
        return min(pairs, key=lambda pair: abs(pair[0].start - pair[1].start), default=None)

    def _in_turn(self, first: Ref, second: Ref) -> bool:
        pair = self._pair(first, second)
        return pair is not None and pair[0].start < pair[1].start

    def _numbers(self, value: int) -> Iterable[Mention]:
        return [m for m in self.reading.tagged("number") if m.value == value]

    def _words(self, start: int, end: int) -> set[str]:
        return set(self.reading.span(max(0, start), end))

    # --- of one row ---

    def _renamed(self, ref: Ref, name: str) -> bool:
        for literal in self.reading.literals:
            if literal.value == name and _NAMING & self._words(literal.start - 4, literal.start):
                before = next((m for m in self.reading.left(literal) if m.columns), None)
                if before and (ref.table, ref.column) in before.columns:
                    self.evidence.use(literal)
                    return True
        return False

    def _mapped(self, item: Mapped) -> bool:
        """Each word beside its value, always on the same side of it; and the word for the rest."""
        pairs = dict(zip(item.words, item.values, strict=True))
        said = [m for m in self.reading.literals if m.value in {*pairs, *pairs.values()}]
        rest = [m for m in self.reading.literals if m.value == item.rest]
        couples = [(str(one.value), str(other.value)) for one, other in zip(said[::2], said[1::2], strict=False)]
        if set(couples) != set(pairs.items()) and {(b, a) for a, b in couples} != set(pairs.items()):
            return False
        self.evidence.used |= {m.start for m in (*said, *rest)}
        return bool(rest) and len(said) == 2 * len(pairs) and self._lock(self._of(item.ref), [said[0].start])

    def _arithmetic(self, item: Arithmetic) -> bool:
        pair = self._pair(item.left, item.right)
        if pair is None:
            return False
        if item.operator == "times":
            return any(self._near(cue, m, 8) for cue in self.reading.tagged("times") for m in pair)
        taken = [self._taken(cue, pair) for cue in self.reading.tagged("subtract")]
        return bool(taken) and all(mention in (None, pair[1]) for mention in taken) and pair[1] in taken

    def _taken(self, cue: Mention, pair: tuple[Mention, Mention]) -> Mention | None:
        """Which of the two is taken off the other by this cue; None where it is about neither."""
        before = next((m for m in self.reading.left(cue, 8) if m in pair), None)
        after = next((m for m in self.reading.right(cue, 8) if m in pair), None)
        if "from" in self._words(cue.end, cue.end + 1):
            return before  # "the discount subtracted from the price"
        return after or before  # "the price minus the discount", "with the discount subtracted"

    def _beginning(self, ref: Ref, count: int) -> bool:
        """ "the first three letters of the name", "the name cut down to its first letter"."""
        for place, token in enumerate(self.reading.tokens):
            if token.lemma not in _PIECES or not _OPENING & self._words(place - 3, place + 6):
                continue
            number = self.reading.at[place - 1] if place else None
            said = number.value if number and "number" in number.tags else None
            beside = any(abs(m.start - place) <= 10 for m in self._of(ref))
            if beside and said == (None if count == 1 else count):
                if number and said is not None:
                    self.evidence.use(number)
                return self._lock(self._of(ref), [place])
        return False

    def _combined(self, item: Combined) -> bool:
        words = {token.lemma or token.lower for token in self.reading.tokens}
        named = {sign for word, sign in _NAMED_SEPARATORS.items() if word in words}
        said = bool(self.reading.tagged("one_text"))
        return said and named == _SEPARATORS[item.separator] and self._in_turn(item.left, item.right)

    def _default(self, ref: Ref, value: int | str) -> bool:
        for literal in self.reading.literals:
            if literal.value == value:
                missing = [cue for cue in self.reading.tagged("null_missing") if self._stands_in(literal, cue)]
                column = next((m for m in self.reading.left(literal, 12) if m.columns), None)
                if missing and column and (ref.table, ref.column) in column.columns:
                    self.evidence.use(literal)
                    return self._lock([column], [literal.start])
        return False

    def _stands_in(self, literal: Mention, cue: Mention) -> bool:
        """ "'none' where it is missing", "missing values as 'none'"; but not "the level ('none') is missing"."""
        first, second = sorted((literal, cue), key=lambda mention: mention.start)
        return self._near(cue, literal, 8) and bool(_STANDING_IN & set(self.reading.between(first, second)))

    def _shifted(self, ref: Ref, days: int) -> bool:
        for number in self._numbers(abs(days)):
            unit = next(self.reading.right(number, 1), None)
            columns = [m for m in self._of(ref) if self._near(number, m, 8)]
            if unit and "days" in unit.tags and columns:
                words = self._words(number.start - 2, unit.end + 4)
                if bool(words & _FORWARD) == (days > 0) and bool(words & _BACK) == (days < 0):
                    self.evidence.use(number)
                    return self._lock(columns, [number.start])
        return False

    # --- of groups and beside other rows ---

    def _text_list(self, ref: Ref) -> bool:
        words = {token.lemma or token.lower for token in self.reading.tokens}
        sorted_ = any(cue.tags & {"asc"} for cue in self.reading.tagged("asc")) and not self.reading.tagged("desc")
        return "comma" in words and sorted_ and bool(self._of(ref))

    def _tile(self, count: int) -> bool:
        for number in self._numbers(count):
            if any(self._near(cue, number, 8) for cue in self.reading.tagged("equal_parts")):
                self.evidence.use(number)
                return True
        return False

    def _end_value(self, item: EndValue) -> bool:
        """ "the fee of the earliest visit by visit date with the same reason"."""
        late, early = bool(self.reading.tagged("late")), bool(self.reading.tagged("early"))
        places = [place for place, token in enumerate(self.reading.tokens) if token.lower == "first"]
        first = early or bool(places)
        self._lock(self._of(item.ref), places + [cue.start for cue in self.reading.tagged("late", "early")])
        shared = [m.start for m in self._of(item.within) if "same" in self._words(m.start - 2, m.start)]
        self.evidence.locked |= set(shared)
        self.evidence.locked |= {m.start for m in self._of(item.by) if "by" in self._words(m.start - 2, m.start)}
        return bool(shared) and (late and not first if item.last else first and not late)

    def _conditionals(self) -> None:
        """A column of its own for each: as many counts or totals are heard as there are columns of them."""
        columns = [item.of if isinstance(item, Conditional) else item for item in self.facts.selected]
        if not self.facts.conditionals():
            return
        for tag, function in (("count", "count"), ("sum", "sum")):
            wanted = [of for of in columns if getattr(of, "function", None) == function]
            if len(self.reading.tagged(tag)) < len(wanted):
                self.evidence.problems.append(f"{len(wanted)} columns of {function} are not heard")
