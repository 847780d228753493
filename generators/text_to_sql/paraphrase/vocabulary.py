"""The names and values of one database that can be heard in a question about some of its tables.

A name is heard by its words, its identifier, or a part of it that nothing else in play shares ("dose" for the daily
dose); the values by themselves ("Bruges" can only be a city).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from generators.text_to_sql.paraphrase.lexicon import (
    ColumnKey,
    Meaning,
    Phrase,
    Phrases,
    Role,
    hear_cue,
    lemmas,
    plain_words,
    raw_phrase,
    synonyms,
)
from generators.text_to_sql.paraphrase.tokens import lemma, stem
from generators.text_to_sql.schema import Column, Database, Table

_SMALL_WORDS, _WEAK = plain_words("small"), plain_words("weak")


@dataclass
class _Names:
    """What columns are called: in full, in part, by stems of parts, by identifier, and without their table's noun."""

    full: dict[Phrase, set[ColumnKey]] = field(default_factory=lambda: defaultdict(set))
    parts: dict[Phrase, set[ColumnKey]] = field(default_factory=lambda: defaultdict(set))
    rough: dict[Phrase, set[ColumnKey]] = field(default_factory=lambda: defaultdict(set))
    written: dict[Phrase, set[ColumnKey]] = field(default_factory=lambda: defaultdict(set))
    bare: dict[Phrase, set[ColumnKey]] = field(default_factory=lambda: defaultdict(set))

    def collect(self, column: Column, table: Table, in_play: bool) -> None:
        key = (table.name, column.name)
        words = lemmas(column.words)
        for phrase in _full_names(column, table):
            self.full[phrase].add(key)
        rest = words[len(noun) :] if words[: len(noun := lemmas(table.singular))] == noun else ()
        if rest and not (len(rest) == 1 and rest[0] in _WEAK):
            self.bare[rest].add(key)
        if not in_play:
            return
        if not hear_cue([column.name], [stem(column.name)], 0):
            self.written[raw_phrase(column.name)].add(key)
        if column.kind == "id":
            for owner in ("its", "their"):
                self.parts[owner, words[-1]].add(key)
        for phrase in _parts(column, table):
            if len(phrase) > 1 or not hear_cue([phrase[0]], [stem(phrase[0])], 0):
                self.parts[phrase].add(key)
                self.rough[tuple(stem(word) for word in phrase)].add(key)


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
        heard = _Names()
        for table in self.database.tables:
            for column in table.columns:
                if column.kind != "key":
                    heard.collect(column, table, table.name in self.tables)
        for phrase, keys in _shared_heads(self.database, self.tables):
            heard.full[phrase] |= keys
        for phrase, keys in heard.bare.items():
            shared = {key for key in keys | heard.parts[phrase] | heard.full[phrase] if key[0] in self.tables}
            if len({table for table, _ in shared}) == len(shared):  # "date" says too little where one table has two
                heard.full[phrase] = shared
        for phrase, keys in heard.full.items():
            inside = {key for key in keys if key[0] in self.tables}
            if inside or len(phrase) > 1:  # one word of a table that isn't in play is most likely just a word
                self.names.add(phrase, self._column_meaning(inside or keys))
        for phrase, keys in heard.written.items():
            if len(phrase) == 1 and phrase not in heard.full:
                self.identifiers.add(phrase, self._column_meaning(keys))
        for phrases, target in ((heard.parts, self.names), (heard.rough, self.loose)):
            for phrase, keys in phrases.items():
                if len(keys) == 1 and phrase not in heard.full:
                    target.add(phrase, self._column_meaning(keys, "part"))
        self._add_synonyms(heard.rough)

    def _column_meaning(self, keys: Iterable[ColumnKey], *tags: str) -> Meaning:
        flags = {key for key in keys if self.database.table(key[0]).column(key[1]).kind == "flag"}
        return Meaning(frozenset({"flag" if flags else "column", *tags}), columns=frozenset(keys))

    def _add_synonyms(self, rough: dict[Phrase, set[ColumnKey]]) -> None:
        """A part of a name with one word replaced, unless something else is called so."""
        replaced: dict[Phrase, set[ColumnKey]] = defaultdict(set)
        for phrase, keys in rough.items():
            for place, word in enumerate(phrase):
                for other in synonyms().get(word, ()):
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
                    self._add_role_verbs(key.words, table.name, key.column)
        for phrase, keys in roles.items():
            parents = {self._parent(role) for role in keys}
            self.names.add(phrase, Meaning(frozenset({"table"}), table=min(parents), roles=frozenset(keys)))

    def _add_role_verbs(self, words: str, table: str, column: str) -> None:
        """ "took off from", "arriving at": the verb of a role, with what it reaches the parent by."""
        verb, *noun = map(stem, lemmas(words))
        if not noun or any(verb == stem(lemmas(other.singular)[-1]) for other in self.database.tables):
            return  # "reviews in" speaks of no reviewer
        for verbs in ((verb,), *synonyms().get(verb, ())):
            for preposition in ("from", "at", "in"):
                role = frozenset({(table, column)})
                self.loose.add((*verbs, preposition), Meaning(frozenset({"role"}), roles=role))

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


@lru_cache(maxsize=512)
def vocabulary_of(database: Database, tables: frozenset[str]) -> Vocabulary:
    return Vocabulary(database, tables)


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
