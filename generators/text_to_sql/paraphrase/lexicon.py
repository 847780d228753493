"""The cue words of the check, from `lexicon.yaml`, and phrases that are looked up by their first word."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from generators.text_to_sql.paraphrase.tokens import Token, stem, tokenise

LEXICON: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "lexicon.yaml").read_text("utf-8"))
_PLAIN = LEXICON["words"]

ColumnKey = tuple[str, str]
"""(table, column)."""
Role = tuple[str, str]
"""(table that holds the key, key column): the part that a row plays for another one."""
Phrase = tuple[str, ...]


def plain_words(name: str) -> frozenset[str]:
    """A list of plain words."""
    return frozenset(_PLAIN[name])


CURRENCIES: dict[str, list[str]] = _PLAIN["currencies"]
SCALES: dict[str, int] = _PLAIN["scales"]
PERIODS: dict[str, set[str]] = {period: set(words) for period, words in _PLAIN["periods"].items()}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a phrase may stand for."""

    tags: frozenset[str] = frozenset()
    columns: frozenset[ColumnKey] = frozenset()
    table: str | None = None
    roles: frozenset[Role] = frozenset()
    value: str | None = None
    value_of: frozenset[ColumnKey] = frozenset()


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


_INFLECTED = frozenset({
    "gt", "ge", "lt", "le", "eq", "ne", "between", "sum", "count", "distinct", "sort", "asc", "desc", "starts", "ends",
    "contains", "running", "change", "moving", "rank", "dense", "gaps", "share", "deviation", "ties", "decimals",
    "null_missing", "null_present", "subtract", "times",
})  # fmt: skip
"""Tags of verbs and adjectives, which are heard in any form ("sorted"); the others only as they are written."""


@cache
def cues() -> tuple[Phrases, Phrases]:
    """The lexicon by lemmas and by stems; a phrase that several tags list has them all."""
    as_written: dict[Phrase, set[str]] = defaultdict(set)
    inflected: dict[Phrase, set[str]] = defaultdict(set)
    for tag, phrases in LEXICON.items():
        if tag not in ("hints", "synonyms", "words"):
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


@cache
def synonyms() -> dict[str, list[Phrase]]:
    """stem → the phrases that may replace it."""
    found: dict[str, list[Phrase]] = defaultdict(list)
    for group in LEXICON["synonyms"]:
        phrases = {stems(word) for word in group}
        for phrase in phrases:
            if len(phrase) == 1:
                found[phrase[0]] += sorted(phrases - {phrase})
    return found


def stems(text: str) -> Phrase:
    return tuple(token.stem or token.lower for token in tokenise(text))


def lemmas(text: str) -> Phrase:
    return tuple(token.lemma or token.lower for token in tokenise(text))


def raw(token: Token) -> str:
    """What a token is compared by where every letter counts, except for case."""
    return token.lower if token.kind in ("word", "mark", "quote") else str(token.value)


def raw_phrase(text: str) -> Phrase:
    return tuple(raw(token) for token in tokenise(text))
