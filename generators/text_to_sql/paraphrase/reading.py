"""A question as it is heard: mentions of names, values, numbers and cues, and how they hang together.

    "the 5 visits with a fee above 50 euros"  ->  number 5, table visit, column fee, gt, number 50
    and the relation  (fee) gt 50
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from generators.text_to_sql.paraphrase.tokens import Token, stem
from generators.text_to_sql.paraphrase.vocabulary import (
    ColumnKey,
    Meaning,
    Phrase,
    Phrases,
    Role,
    Vocabulary,
    hear_cue,
    hints,
    raw,
    raw_phrase,
)

_STOPS = frozenset(".;?!")
_LITERALS = frozenset({"number", "date", "month", "value", "quote"})
_UNIT_TAGS = frozenset({"column", "table", "days", "months", "years", "share", "rows", "per"})
_NO_BRIDGE = _LITERALS | {"not", "table", "high", "low", "late", "early", "limit"}
_BEFORE_NOUNS = frozenset({"the", "an", "each", "every", "latest", "newest", "last", "recent", "earliest", "oldest", "first"})
_EXTREMES = ("maximum", "minimum", "max", "min")
_MEASURES = frozenset({"days", "months", "years", "share", "decimals"})
_VERBS = frozenset({"return", "report", "order", "list", "name", "count", "rate", "state", "record", "file", "book", "issue", "open", "close"})
_UNNEGATED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}
_ARTICLES = frozenset({"a", "an", "the", "of", "its", "their", "it", "each", "every", "all", "any", "this", "that", "our"})
_FILL = _ARTICLES | {"be", "is", "are", "was", "were", "to", "in", "as", "value", "figure", "year", "month", "date", "day", "been", "than", "have", "has", "$", "€", "£", "eur", "usd", "gbp", "(", "[", ":"}  # fmt: skip


BETWEEN = frozenset({"is", "are", "was", "were", "be", "been", "a", "an", "the", "of", "to", "than", "as", "in", "on", "lies", "falls", "at", "equal", "exactly", "value", "$", "€", "£", "eur", "usd", "gbp", ":", "(", "has", "have", "do", "does", "any", "either", "year"})  # fmt: skip
"""What may stand between a column and the literal it is compared with."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Tokens `start` to `end` and what they may mean."""

    start: int
    end: int
    tags: frozenset[str]
    text: str
    columns: frozenset[ColumnKey] = frozenset()
    table: str | None = None
    roles: frozenset[Role] = frozenset()
    value: int | float | str | None = None
    value_of: frozenset[ColumnKey] = frozenset()
    plural: bool = False
    soft: bool = False
    """A number that may be no number at all: "one", "zero"."""
    hint: Phrase = ()


class Reading:
    """One question, heard with one vocabulary; `literals` are the strings that are listened for before all else."""

    def __init__(
        self, tokens: tuple[Token, ...], vocabulary: Vocabulary, strings: frozenset[str], patterns: frozenset[str]
    ) -> None:
        """`strings` and `patterns` are the literals to listen for; a pattern is only heard where it is quoted."""
        self.tokens, self.vocabulary = tokens, vocabulary
        self._lower = [raw(token) for token in tokens]
        self._lemmas = ["" if token.kind == "quote" else token.lemma or token.lower for token in tokens]
        self._stems = ["" if token.kind == "quote" else token.stem or token.lower for token in tokens]
        self._literals = {literal.lower(): literal for literal in strings | patterns}
        self._spoken = Phrases()
        for literal in strings:
            meaning = Meaning(frozenset({"value"}), value=literal, value_of=self._value_of(literal))
            self._spoken.add(raw_phrase(literal), meaning)
        self._spoken.sort()
        self._reserved = {place for place in range(len(tokens)) if self._spoken.match(self._lower, place)}
        self.mentions = self._qualified(list(self._hear()))
        self.at: list[Mention | None] = [None] * len(tokens)
        for mention in self.mentions:
            self.at[mention.start : mention.end] = [mention] * (mention.end - mention.start)

    # --- hearing ---

    def _hear(self) -> Iterator[Mention]:
        place = 0
        while place < len(self.tokens):
            mention = self._literal(place) or self._longest(place) or self._prefixed(place)
            if mention:
                yield mention
            place = mention.end if mention else place + 1

    def _literal(self, place: int) -> Mention | None:
        token = self.tokens[place]
        if token.kind == "quote":
            text = str(token.value)
            exact = self._literals.get(text.lower())
            named = None if exact else self._names_in(token)
            if named:
                return self._mention(place, 1, named)
            return Mention(place, place + 1, frozenset({"value" if exact else "quote"}), text, value=exact or text, value_of=self._value_of(exact or text))  # fmt: skip
        if token.kind in ("number", "date", "month"):
            longer = self._longest(place, shortest=2)
            if longer and longer.tags & {"value", "neutral"}:
                return longer
            if token.value == 0 and place + 1 < len(self.tokens) and self._is_table(place + 1):
                return Mention(place, place + 1, frozenset({"not"}), token.text)  # "with zero visits"
            soft = token.lower in ("one", "zero")
            return Mention(place, place + 1, frozenset({token.kind}), token.text, value=token.value, soft=soft)
        return None

    def _is_table(self, place: int) -> bool:
        found = self.vocabulary.names.match(self._lemmas, place)
        return found is not None and found[1].table is not None

    def _names_in(self, token: Token) -> Meaning | None:
        """A quoted name of a column or table is that name, not a literal."""
        words = str(token.value).lower().split()
        found = self.vocabulary.names.match(words, 0) if words else None
        return found[1] if found and found[0] == len(words) else None

    def _value_of(self, text: str) -> frozenset[ColumnKey]:
        words = [*raw_phrase(text)]
        found = self.vocabulary.values.match(words, 0) if words else None
        return found[1].value_of if found and found[0] == len(words) else frozenset()

    def _longest(self, place: int, shortest: int = 1) -> Mention | None:
        """The longest phrase here; of equally long ones a name, a literal, a cue, another value, or a looser name."""
        vocabulary = self.vocabulary
        if place and self.tokens[place - 1].kind == "number" and self._lemmas[place] in vocabulary.units:
            found = hear_cue(self._lemmas, self._stems, place)  # "5 days" is not the column `days`
            measures = found is not None and found[0] >= shortest and bool(found[1].tags & _MEASURES)
            return self._mention(place, *found) if found and measures else None
        heard = [
            vocabulary.identifiers.match(self._lower, place),
            self._name(place),
            self._spoken.match(self._lower, place),
            hear_cue(self._lemmas, self._stems, place),
            vocabulary.values.match(self._lower, place),
            vocabulary.loose.match(self._stems, place),
        ]
        if self._is_noun(place):
            heard = heard[1:2]
        if self._is_verb(place):
            heard = [found for found in heard if found and not found[1].columns]
        if self._opens(place):
            heard = [found for found in heard if found and "part" not in found[1].tags]
        free = (found for found in heard if found and not self._reserved & {*range(place + 1, place + found[0])})
        best = max(free, key=lambda found: found[0], default=None)
        if best is None or best[0] < shortest:
            return None
        return self._mention(place, *best)

    def _name(self, place: int) -> tuple[int, Meaning] | None:
        """The name here, unless its last word begins a longer one: "department's number of beds"."""
        names = self.vocabulary.names
        found = names.match(self._lemmas, place)
        if found and found[0] > 1:
            longer = names.match(self._lemmas, place + found[0] - 1)
            shorter = names.match(self._lemmas[: place + found[0] - 1], place)
            if longer and longer[0] > found[0] and shorter and shorter[0] == found[0] - 1:
                return shorter
        return found

    def _is_noun(self, place: int) -> bool:
        """ "the latest order by order date": an order that is a row, though "order by" sorts elsewhere."""
        before = self._lower[place - 1] if place else ""
        return before in _BEFORE_NOUNS and self._is_table(place) and self._lower[place + 1 : place + 2] == ["by"]

    def _is_verb(self, place: int) -> bool:
        """ "Name the ports": a word before an article is no column."""
        before = self._lower[place - 1] if place else ""
        after = self._lower[place + 1] if place + 1 < len(self._lower) else ""
        return after in ("the", "all", "each", "every", "them", "their", "its", "a", "an") and before not in _ARTICLES | {"by", "with", "whose", ","}

    def _opens(self, place: int) -> bool:
        """ "Return loan numbers": a verb that opens a sentence is no return date."""
        before = self._lower[place - 1] if place else ""
        return self._lower[place] in _VERBS and (not before or before in _STOPS | {":", ","})

    def _prefixed(self, place: int) -> Mention | None:
        """ "unsettled", "nonrepeatable": a flag and its negation in one word."""
        word = self.tokens[place].lower
        for prefix in ("un", "non", "in"):
            rest = word.removeprefix(prefix)
            if rest != word and len(rest) > 3:
                for found in (self.vocabulary.names.match([rest], 0), self.vocabulary.loose.match([stem(rest)], 0)):
                    if found and "flag" in found[1].tags:
                        return Mention(place, place + 1, frozenset({"flag", "not"}), word, columns=found[1].columns)
        return None

    def _mention(self, place: int, length: int, meaning: Meaning) -> Mention:
        tokens = self.tokens[place : place + length]
        value = self._literals.get(meaning.value.lower(), meaning.value) if meaning.value else None
        phrase = tuple(self._stems[place : place + length])
        return Mention(
            place,
            place + length,
            meaning.tags,
            " ".join(token.text for token in tokens),
            columns=meaning.columns,
            table=meaning.table,
            roles=meaning.roles,
            value=value,
            value_of=meaning.value_of,
            plural=bool(meaning.table) and self._is_plural(meaning.table or "", tokens[-1]),
            hint=phrase if phrase in hints() else (),
        )

    def _is_plural(self, table: str, token: Token) -> bool:
        named = self.vocabulary.database.table(table)
        return token.lower != token.lemma or named.singular == named.plural

    def _qualified(self, mentions: list[Mention]) -> list[Mention]:
        """Narrows a column that several tables have by the table beside it: "doctor's name", "name of the doctor"."""
        for place, mention in enumerate(mentions):
            if len(mention.columns) < 2:
                continue
            before = mentions[place - 1] if place else None
            after = mentions[place + 1] if place + 1 < len(mentions) else None
            for other in (before if before and before.end == mention.start else None, after if after and self._owned(mention, after) else None):  # fmt: skip
                if other and other.table:
                    own = frozenset(column for column in mention.columns if column[0] == other.table)
                    if own:
                        mentions[place] = _replaced(mention, own)
                        break
        return mentions

    def _owned(self, mention: Mention, after: Mention) -> bool:
        between = self._lower[mention.end : after.start]
        return bool(between) and len(between) <= 4 and between[0] in ("of", "for", "from") and set(between[1:]) <= _ARTICLES

    # --- looking around ---

    def tagged(self, *tags: str) -> list[Mention]:
        return [mention for mention in self.mentions if mention.tags & set(tags)]

    def left(self, mention: Mention, limit: int = 99) -> Iterator[Mention]:
        """The mentions before this one in its sentence, the nearest first, `limit` tokens back at most."""
        place = mention.start - 1
        while place >= max(0, mention.start - limit) and self._lower[place] not in _STOPS:
            other = self.at[place]
            if other:
                yield other
                place = other.start
            place -= 1

    def right(self, mention: Mention, limit: int = 99) -> Iterator[Mention]:
        place = mention.end
        while place < min(len(self.tokens), mention.end + limit) and self._lower[place] not in _STOPS:
            other = self.at[place]
            if other:
                yield other
                place = other.end - 1
            place += 1

    def span(self, start: int, end: int) -> list[str]:
        return self._lower[start:end]

    def between(self, first: Mention, second: Mention) -> list[str]:
        return self.span(first.end, second.start)

    def words(self) -> set[str]:
        return set(self._stems)

    def word_before(self, mention: Mention) -> str:
        return self._lower[mention.start - 1] if mention.start else ""

    def sentence(self, place: int) -> int:
        """A number for the sentence that a token stands in."""
        return sum(1 for word in self._lower[:place] if word in _STOPS)

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
        turned = before and "not" in before.tags and not comparison.tags & {"ne"}
        return before if turned and set(self.between(before, comparison)) <= _FILL else None

    @cached_property
    def operators(self) -> dict[int, str]:
        """The comparison that governs each literal, by where the literal starts: gt, ge, lt, le, eq or ne."""
        found = {literal.start: self._operator(literal) for literal in self.literals}
        closed = -1
        for first, second in zip(self.literals, self.literals[1:], strict=False):
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
        while place >= 0 and steps < 6 and self._lower[place] not in _STOPS and self._lower[place] not in (",", "and", "or"):
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
        while place < len(self.tokens) and skipped <= 4 and self._lower[place] not in _STOPS | {","}:
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
        if first.soft or second.soft or first.tags != second.tags or (first.tags | second.tags) & {"value", "quote"} or second.start - first.end > 8:
            return False
        middle = self.between(first, second)
        if any(word in _STOPS or word == "," for word in middle):
            return False
        opened = self._opens_range(first)
        if "and" in middle and opened:
            return True
        to = any(word in ("to", "-", "through", "until") for word in middle)
        return to and operators[first.start] in ("eq", "ge") and operators[second.start] in ("eq", "le", "lt") and (
            opened or len(middle) <= 5 or operators[first.start] == "ge"
        )

    def _opens_range(self, first: Mention) -> bool:
        return any("between" in other.tags for other in self.left(first, 5))

    # --- negation ---

    @cached_property
    def negations(self) -> list[Mention]:
        """The negations that may turn a condition: not those inside a comparison ("not above"), or about gaps in ranks or repeats."""
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


def _replaced(mention: Mention, columns: frozenset[ColumnKey]) -> Mention:
    return Mention(mention.start, mention.end, mention.tags, mention.text, columns, plural=mention.plural)
