"""What can be mentioned in a question: cue words of the lexicon, and the names and values of the tables in play.

A name is heard by its words, its identifier, or a part of it that nothing else in play shares ("dose" for the daily
dose); the values by themselves ("Bruges" can only be a city).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from generators.text_to_sql.paraphrase.tokens import Token, lemma, stem, tokenise
from generators.text_to_sql.schema import Column, Database, Table

LEXICON: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "lexicon.yaml").read_text("utf-8"))

ColumnKey = tuple[str, str]
"""(table, column)."""
Role = tuple[str, str]
"""(table that holds the key, key column): the part that a row plays for another one."""
Phrase = tuple[str, ...]

_SMALL_WORDS = {"of", "the", "a", "an", "in", "at", "per", "for", "to", "on", "with", "and", "by"}
_WEAK = {"date", "time", "number", "year", "month", "day", "value", "total", "id", "code", "first", "last"}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a phrase may stand for."""

    tags: frozenset[str] = frozenset()
    columns: frozenset[ColumnKey] = frozenset()
    table: str | None = None
    roles: frozenset[Role] = frozenset()
    value: str | None = None
    value_of: frozenset[ColumnKey] = frozenset()
    negated: bool = False


@dataclass
class Phrases:
    """Phrases by their first word, the longest first."""

    by_first: dict[str, list[tuple[Phrase, Meaning]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, phrase: Phrase, meaning: Meaning) -> None:
        if phrase:
            self.by_first[phrase[0]].append((phrase, meaning))

    def sort(self) -> "Phrases":
        for options in self.by_first.values():
            options.sort(key=lambda option: -len(option[0]))
        return self

    def match(self, words: list[str], place: int) -> tuple[int, Meaning] | None:
        for phrase, meaning in self.by_first.get(words[place], ()):
            if tuple(words[place : place + len(phrase)]) == phrase:
                return len(phrase), meaning
        return None


_INFLECTED = frozenset(
    """gt ge lt le eq ne between sum count distinct sort asc desc starts ends contains running change moving rank dense
    gaps share deviation ties decimals null_missing null_present""".split()
)
"""Tags of verbs and adjectives, which are heard in any form ("sorted"); the others only as they are written."""


@cache
def cues() -> tuple[Phrases, Phrases]:
    """The lexicon by lemmas and by stems; a phrase that several tags list has them all."""
    as_written: dict[Phrase, set[str]] = defaultdict(set)
    inflected: dict[Phrase, set[str]] = defaultdict(set)
    for tag, phrases in LEXICON.items():
        if tag not in ("hints", "synonyms"):
            for phrase in phrases:
                as_written[lemmas(phrase)].add(tag)
                if tag in _INFLECTED:
                    inflected[stems(phrase)].add(tag)
    return _tagged(as_written), _tagged(inflected)


def _tagged(tags: dict[Phrase, set[str]]) -> Phrases:
    found = Phrases()
    for words, names in tags.items():
        found.add(words, Meaning(frozenset(names)))
    return found.sort()


def hear_cue(words: list[str], stemmed: list[str], place: int) -> tuple[int, Meaning] | None:
    """The longest cue here; of a phrase as written and an inflected one, the written one."""
    written, inflected = cues()
    one, other = written.match(words, place), inflected.match(stemmed, place)
    return other if other and (one is None or other[0] > one[0]) else one


@cache
def hints() -> dict[Phrase, frozenset[str]]:
    """Superlatives that name their column too: "heaviest" speaks of a weight."""
    return {stems(word): frozenset(stem(hint) for hint in named) for word, named in LEXICON["hints"].items()}


def stems(text: str) -> Phrase:
    return tuple(token.stem or token.lower for token in tokenise(text))


def lemmas(text: str) -> Phrase:
    return tuple(token.lemma or token.lower for token in tokenise(text))


class Vocabulary:
    """The names and values of one database, heard by a plan that uses `tables`."""

    def __init__(self, database: Database, tables: frozenset[str]) -> None:
        self.database, self.tables = database, tables
        self.names, self.loose, self.values, self.identifiers = Phrases(), Phrases(), Phrases(), Phrases()
        columns = [column for name in tables for column in database.table(name).columns]
        self.units = {word for column in columns for word in lemmas(column.unit or "")}
        self._add_columns()
        self._add_tables()
        self._add_values()
        if len(trade := lemmas(database.industry)) > 1:  # "in sea freight" speaks of no freight charge
            self.names.add(trade, Meaning(frozenset({"neutral"})))
        for phrases in (self.names, self.loose, self.values, self.identifiers):
            phrases.sort()

    # --- columns ---

    def _add_columns(self) -> None:
        full: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        parts: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        rough: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        written: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        bare: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        for table in self.database.tables:
            for column in table.columns:
                if column.kind == "key":
                    continue
                key = (table.name, column.name)
                for phrase in _full_names(column, table):
                    full[phrase].add(key)
                if column.kind == "id" and table.name in self.tables:
                    for owner in ("its", "their"):
                        parts[owner, lemmas(column.words)[-1]].add(key)
                words = lemmas(column.words)
                if words[:1] == lemmas(table.singular) and len(words) > 1:
                    bare[words[1:]].add(key)
                if table.name in self.tables:
                    written[raw_phrase(column.name)].add(key)
                    for phrase in _parts(column, table):
                        if len(phrase) == 1 and hear_cue([phrase[0]], [stem(phrase[0])], 0):
                            continue
                        parts[phrase].add(key)
                        rough[tuple(stem(word) for word in phrase)].add(key)
        for phrase, keys in _shared_heads(self.database, self.tables):
            full[phrase] |= keys
        for phrase, keys in bare.items():
            if phrase[0] in _WEAK and len(phrase) == 1:
                continue
            shared = {key for key in keys | parts[phrase] | full[phrase] if key[0] in self.tables}
            if len({table for table, _ in shared}) == len(shared):  # "date" says too little where one table has two
                full[phrase] = shared
        for phrase, keys in full.items():
            inside = {key for key in keys if key[0] in self.tables}
            if inside or len(phrase) > 1:  # one word of a table that isn't in play is most likely just a word
                self.names.add(phrase, self._column_meaning(inside or keys))
        for phrase, keys in written.items():
            if len(phrase) == 1 and phrase not in full:
                self.identifiers.add(phrase, self._column_meaning(keys))
        for phrases, target in ((parts, self.names), (rough, self.loose)):
            for phrase, keys in phrases.items():
                if len(keys) == 1 and phrase not in full:
                    target.add(phrase, self._column_meaning(keys, "part"))
        self._add_synonyms(rough)

    def _column_meaning(self, keys: Iterable[ColumnKey], *tags: str) -> Meaning:
        flags = {key for key in keys if self.database.table(key[0]).column(key[1]).kind == "flag"}
        return Meaning(frozenset({"flag" if flags else "column", *tags}), columns=frozenset(keys))

    def _add_synonyms(self, rough: dict[Phrase, set[ColumnKey]]) -> None:
        """A part of a name with one word replaced, unless something else is called so."""
        replaced: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        for phrase, keys in rough.items():
            for place, word in enumerate(phrase):
                for other in _synonyms().get(word, ()):
                    replaced[(*phrase[:place], *other, *phrase[place + 1 :])] |= keys
        for phrase, keys in replaced.items():
            heard = hear_cue([*phrase], [*phrase], 0)
            if len(keys) == 1 and phrase not in rough and not (heard and heard[0] == len(phrase)):
                self.loose.add(phrase, self._column_meaning(keys, "part"))

    # --- tables and roles ---

    def _add_tables(self) -> None:
        heads = [lemmas(table.singular)[-1] for table in self.database.tables]
        roles: dict[Phrase, set[Role]] = defaultdict(set)
        for table in self.database.tables:
            meaning = Meaning(frozenset({"table"}), table=table.name)
            words = {lemmas(table.singular), lemmas(table.plural), lemmas(_spaced(table.name))}
            head = words and lemmas(table.singular)[-1]
            if head and heads.count(head) == 1:
                words.add((head,))
            for phrase in words:
                self.names.add(phrase, meaning)
            if table.name in self.tables:  # "crops that were never harvested"
                self.loose.add((stem(lemmas(table.singular)[-1]),), meaning)
            for key in table.foreign_keys:
                if key.words:
                    roles[lemmas(key.words)].add((table.name, key.column))
        for phrase, keys in roles.items():
            parents = {self._parent(role) for role in keys}
            self.names.add(phrase, Meaning(frozenset({"table"}), table=min(parents), roles=frozenset(keys)))

    def _parent(self, role: Role) -> str:
        return next(key.table for key in self.database.table(role[0]).foreign_keys if key.column == role[1])

    # --- values ---

    def _add_values(self) -> None:
        found: dict[Phrase, tuple[str, set[ColumnKey]]] = {}
        for table in self.database.tables:
            if table.name not in self.tables:
                continue
            for column in table.of_kind("category", "name", "text"):
                for value in column.values:
                    if isinstance(value, str) and 0 < len(value) <= 60:
                        found.setdefault(raw_phrase(value), (value, set()))[1].add((table.name, column.name))
        for phrase, (value, keys) in found.items():
            self.values.add(phrase, Meaning(frozenset({"value"}), value=value, value_of=frozenset(keys)))


def raw(token: Token) -> str:
    """What a token is compared by where every letter counts, except for case."""
    return token.lower if token.kind in ("word", "mark", "quote") else str(token.value)


def raw_phrase(text: str) -> Phrase:
    return tuple(raw(token) for token in tokenise(text))


@lru_cache(maxsize=512)
def vocabulary_of(database: Database, tables: frozenset[str]) -> Vocabulary:
    return Vocabulary(database, tables)


@cache
def _synonyms() -> dict[str, list[Phrase]]:
    """stem → the phrases that may replace it."""
    found: dict[str, list[Phrase]] = defaultdict(list)
    for group in LEXICON["synonyms"]:
        phrases = {stems(word) for word in group}
        for phrase in phrases:
            if len(phrase) == 1:
                found[phrase[0]] += sorted(phrases - {phrase})
    return found


def _spaced(identifier: str) -> str:
    """ "unitPrice" and "unit_price" → "unit price"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", identifier).replace("_", " ")


def _full_names(column: Column, table: Table) -> Iterator[Phrase]:
    """The words, "X of the Y" for "Y X" and the other way round, and the identifier where it is more than a word."""
    words = lemmas(column.words)
    yield words
    if words[:1] in (("a",), ("an",)):
        yield words[1:]
    if len(words) == 2 and words[1] != "number" and words[0] != lemma(table.singular):
        yield (words[1], "of", words[0])
        yield (words[1], "of", "the", words[0])
    if len(words) == 3 and words[1] == "of":
        yield (words[2], words[0])
        yield (words[0], "of", "the", words[2])
    name = lemmas(_spaced(column.name))
    if len(name) > 1:
        if name[-1] not in _SMALL_WORDS:  # "hired on or before" holds no column hired_on
            yield name
        yield tuple(word for part in name for word in (part, "_"))[:-1]


def _shared_heads(database: Database, tables: frozenset[str]) -> Iterator[tuple[Phrase, set[ColumnKey]]]:
    """ "first and last name": two columns of a table at once."""
    for table in sorted(tables):
        columns = database.table(table).columns
        for one in columns:
            for other in columns:
                first, second = lemmas(one.words), lemmas(other.words)
                if one is not other and len(first) == len(second) == 2 and first[1] == second[1]:
                    yield (first[0], "and", *second), {(table, one.name), (table, other.name)}


def _parts(column: Column, table: Table) -> Iterator[Phrase]:
    """Shorter names that will do where nothing else in play has them."""
    words = [word for word in lemmas(column.words) if word not in _SMALL_WORDS]
    if column.kind == "flag":
        raw_words = lemmas(column.words)
        yield from (raw_words[i:] for i in range(1, len(raw_words)) if raw_words[i] in words)
        yield lemmas(re.sub("^(is|has)_", "", _spaced(column.name).replace(" ", "_")).replace("_", " "))
        return
    if " of " in column.words:
        head = [word for word in lemmas(column.words.split(" of ")[0]) if word not in _SMALL_WORDS]
        tail = words[len(head) :]
        if head == ["number"]:
            yield tuple(tail)
        words = tail + head
    for start in range(1, len(words)):
        if start < len(words) - 1 or words[-1] not in _WEAK or column.kind in ("date",):
            yield tuple(words[start:])
    if column.kind == "date" or column.unit == "year":
        yield from ((word,) for word in words if word not in _WEAK and word != lemma(table.singular))
