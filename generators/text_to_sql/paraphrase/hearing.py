"""From tokens to mentions: which names, values, numbers and cues a question holds, the longest phrase first.

"the 5 visits with a fee above 50 euros"  ->  number 5, table visit, column fee, cue gt, number 50
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from generators.text_to_sql.paraphrase.lexicon import (
    ColumnKey,
    Meaning,
    Phrase,
    Phrases,
    Role,
    hear_cue,
    hints,
    plain_words,
    raw,
    raw_phrase,
)
from generators.text_to_sql.paraphrase.tokens import Token, stem
from generators.text_to_sql.paraphrase.vocabulary import Vocabulary

_MEASURES = frozenset({"days", "months", "years", "share", "decimals"})
_ARTICLES, _VERBS, _OBJECTS = plain_words("articles"), plain_words("verbs"), plain_words("objects")
_BEFORE_NOUNS = plain_words("before_nouns")
_OPENERS = frozenset(".;?!:,")


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


class Hearing:
    """One question, heard with one vocabulary."""

    def __init__(
        self, tokens: tuple[Token, ...], vocabulary: Vocabulary, strings: frozenset[str], patterns: frozenset[str]
    ) -> None:
        """`strings` and `patterns` are the literals to listen for; a pattern is only heard where it is quoted."""
        self.tokens, self.vocabulary = tokens, vocabulary
        self.lower = [raw(token) for token in tokens]
        self._lemmas = ["" if token.kind == "quote" else token.lemma or token.lower for token in tokens]
        self._stems = ["" if token.kind == "quote" else token.stem or token.lower for token in tokens]
        self._literals = {literal.lower(): literal for literal in strings | patterns}
        self._spoken = Phrases()
        for literal in strings:
            meaning = Meaning(frozenset({"value"}), value=literal, value_of=self._value_of(literal))
            self._spoken.add(raw_phrase(literal), meaning)
        self._spoken.sort()
        self._reserved = {place for place in range(len(tokens)) if self._literal_words(place)}
        self.mentions = self._qualified(list(self._hear()))

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
            return self._quoted(token, place)
        if token.kind in ("number", "date", "month"):
            longer = self._longest(place, shortest=2)
            if longer and longer.tags & {"value", "neutral", "one_text"}:
                return longer
            if token.value == 0 and place + 1 < len(self.tokens) and self._is_table(place + 1):
                return Mention(place, place + 1, frozenset({"not"}), token.text)  # "with zero visits"
            soft = token.lower in ("one", "zero")
            return Mention(place, place + 1, frozenset({token.kind}), token.text, value=token.value, soft=soft)
        return None

    def _quoted(self, token: Token, place: int) -> Mention:
        """A literal of the plan, the name of a column or table in quotes, or an unknown string."""
        text = str(token.value)
        literal = self._literals.get(text.lower())
        if literal is None and (named := self._names_in(token)):
            return self._mention(place, 1, named)
        tags = frozenset({"quote" if literal is None else "value"})
        value = literal or text
        return Mention(place, place + 1, tags, text, value=value, value_of=self._value_of(value))

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
            vocabulary.identifiers.match(self.lower, place),
            self._name(place),
            self._literal_words(place),
            hear_cue(self._lemmas, self._stems, place),
            self._as_written(vocabulary.values.match(self.lower, place), place),
            vocabulary.loose.match(self._stems, place),
        ]
        if self._is_noun(place):
            heard = heard[1:2]
        if self._is_verb(place):
            heard = [found for found in heard if found and not found[1].columns]
        if self._opens(place):
            heard = [found for found in heard if found and "part" not in found[1].tags]
        heard = [self._before_name(found, place) if found else None for found in heard]
        heard = [found for found in heard if found and not self._ends_early(place, place + found[0])]
        free = (found for found in heard if found and not self._reserved & {*range(place + 1, place + found[0])})
        best = max(free, key=lambda found: found[0], default=None)
        if best is None or best[0] < shortest:
            return None
        return self._mention(place, *best)

    def _before_name(self, found: tuple[int, Meaning], place: int) -> tuple[int, Meaning] | None:
        """ "ascending order number": the direction ends before the name that its last word begins."""
        last = place + found[0] - 1
        if not (found[0] > 1 and found[1].tags & {"asc", "desc"} and self._lemmas[last] == "order"):
            return found
        name = self.vocabulary.names.match(self._lemmas, last)
        return hear_cue(self._lemmas[:last], self._stems[:last], place) if name and name[0] > 1 else found

    def _as_written(self, found: tuple[int, Meaning] | None, place: int) -> tuple[int, Meaning] | None:
        """A value without quotes; one of a letter or two only as it is written, and not where a sentence starts."""
        if found and found[0] == 1 and len(self.lower[place]) < 3:
            opens = place == 0 or self.lower[place - 1] in _OPENERS
            return found if self.tokens[place].text == found[1].value and not opens else None
        return found

    def _literal_words(self, place: int) -> tuple[int, Meaning] | None:
        return self._as_written(self._spoken.match(self.lower, place), place)

    def _name(self, place: int) -> tuple[int, Meaning] | None:
        """The name here, unless its last word begins a longer one: "department's number of beds"."""
        names = self.vocabulary.names
        found = names.match(self._lemmas, place)
        if found and found[0] > 1:
            longer = names.match(self._lemmas, place + found[0] - 1)
            shorter = names.match(self._lemmas[: place + found[0] - 1], place)
            turned = "of" in self._lemmas[place : place + found[0]]  # "score of hygiene" of "hygiene inspections"
            if longer and longer[0] > (1 if turned else found[0]):
                return shorter if shorter and shorter[0] == found[0] - 1 else None
        return found

    def _ends_early(self, place: int, end: int) -> bool:
        """The words are no name: "its number of seats", "checked in total"."""
        counted = self._lemmas[place] in ("its", "their") and self.lower[end : end + 1] == ["of"]
        straddles = end > place + 1 and self.lower[end - 1 : end + 1] == ["in", "total"]
        return (counted and end == place + 2) or straddles

    def _is_noun(self, place: int) -> bool:
        """ "the latest order by order date": an order that is a row, though "order by" sorts elsewhere."""
        before = self.lower[place - 1] if place else ""
        return before in _BEFORE_NOUNS and self._is_table(place) and self.lower[place + 1 : place + 2] == ["by"]

    def _is_verb(self, place: int) -> bool:
        """ "Name the ports": a word before an article is no column."""
        before = self.lower[place - 1] if place else ""
        after = self.lower[place + 1] if place + 1 < len(self.lower) else ""
        return after in _OBJECTS and before not in _ARTICLES | {"by", "with", "whose"}

    def _opens(self, place: int) -> bool:
        """ "Return loan numbers": a verb that opens a sentence is no return date."""
        before = self.lower[place - 1] if place else ""
        return self.lower[place] in _VERBS and (not before or before in _OPENERS)

    def _prefixed(self, place: int) -> Mention | None:
        """ "unsettled", "nonrepeatable": a flag and its negation in one word."""
        word = self.tokens[place].lower
        for prefix in plain_words("prefixes"):
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
            beside = [before] if before and before.end == mention.start else []
            beside += [after] if after and self._owned(mention, after) else []
            tables = {other.table for other in beside[:1]}
            own = frozenset(column for column in mention.columns if column[0] in tables)
            if own:
                mentions[place] = replace(mention, columns=own)
        return mentions

    def _owned(self, mention: Mention, after: Mention) -> bool:
        between = self.lower[mention.end : after.start]
        opened = len(between) <= 4 and between[:1] in (["of"], ["for"], ["from"])
        return opened and set(between[1:]) <= _ARTICLES
