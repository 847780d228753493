"""Contexts from a library: documents of one topic, in a random order, to an exact length.

# Document 3: Write-Ahead Logging

The default method by which ...
"""

import re
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Lock
from typing import NamedTuple

import orjson

from generators.long_context.context import SEPARATOR, Piece, TokenCounter
from generators.long_context.documents.split import first_tokens
from gristmill import Reject

SMALLEST = 64
"""Tokens: less than that is left over and not filled with the beginning of another document."""

_PARAGRAPH = re.compile(r"\S.*?(?=\n\s*\n|\Z)", re.DOTALL)


class Topic(NamedTuple):
    number: int
    tokens: int
    terms: list[str]
    near: list[int]


class Part(NamedTuple):
    id: int
    tokens: int


class Placed(NamedTuple):
    """A document in a context: where its heading begins, in characters and in tokens, and how many of them it has."""

    title: str
    start: int
    offset: int
    tokens: int


class Section(NamedTuple):
    """A paragraph of a context, in characters."""

    start: int
    end: int
    document: int


class Bundle(NamedTuple):
    text: str
    tokens: int
    documents: list[Placed]
    topic: Topic

    def document_at(self, place: int) -> int:
        """The number of the document that the character at `place` is in, from 0."""
        return bisect_right([document.start for document in self.documents], place) - 1

    def token_at(self, place: int) -> int:
        """About which token of the context a character belongs to."""
        number = self.document_at(place)
        document = self.documents[number]
        following = self.documents[number + 1].start if number + 1 < len(self.documents) else len(self.text)
        return document.offset + (place - document.start) * document.tokens // max(1, following - document.start)

    def sections(self, shortest: int) -> list[Section]:
        """The paragraphs that are no headings and long enough to ask about."""
        return [
            Section(match.start(), match.end(), self.document_at(match.start()))
            for match in _PARAGRAPH.finditer(self.text)
            if match.end() - match.start() >= shortest and not match[0].startswith("# Document ")
        ]


class Shelf:
    """A library to read from, by several threads."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        self._lock = Lock()
        rows = self._database.execute("SELECT topic, tokens, terms, near FROM topics ORDER BY topic")
        self.topics = [
            Topic(number, tokens, orjson.loads(terms), orjson.loads(near)) for number, tokens, terms, near in rows
        ]
        self.parts: dict[int, list[Part]] = {topic.number: [] for topic in self.topics}
        for id_, tokens, topic in self._database.execute("SELECT id, tokens, topic FROM parts ORDER BY id"):
            self.parts[topic].append(Part(id_, tokens))

    def close(self) -> None:
        self._database.close()

    def read(self, parts: Sequence[Part]) -> list[tuple[str, str]]:
        """Title and text of each part."""
        with self._lock:
            ask = "SELECT title, text FROM parts WHERE id = ?"
            return [self._database.execute(ask, (part.id,)).fetchone() for part in parts]

    def bundle(self, topic: int, tokens: int, counter: TokenCounter, rng: Random) -> Bundle:
        """A context of `tokens` tokens: of the topic's documents, then of the nearest topics'."""
        chosen, used = self.topics[topic], 0
        taken: list[Part] = []
        for part in self._by_nearness(chosen, rng):
            if used >= tokens:
                break
            taken.append(part)
            used += part.tokens
        pieces: list[tuple[str, Piece]] = []
        left = tokens
        for number, (part, (title, text)) in enumerate(zip(taken, self.read(taken), strict=True), start=1):
            # Headings are counted with the largest number that they can get, so that their order may be changed.
            heading = counter.pieces([_heading(max(number, len(taken)), title)])[0].tokens
            room = left - heading
            if room < SMALLEST:
                break
            piece = first_tokens(Piece(text, part.tokens), room, counter)
            pieces.append((title, piece))
            left -= heading + piece.tokens
        if left > max(SMALLEST * 2, tokens // 100):
            raise Reject("context", "too_few_documents", f"{left} of {tokens} tokens stay empty")
        rng.shuffle(pieces)
        return _joined(pieces, chosen, counter)

    def _by_nearness(self, topic: Topic, rng: Random) -> Iterator[Part]:
        for number in (topic.number, *topic.near):
            yield from rng.sample(self.parts[number], len(self.parts[number]))


@contextmanager
def open_shelf(path: str) -> Iterator[Shelf]:
    """For `ctx.resource`."""
    shelf = Shelf(Path(path))
    try:
        yield shelf
    finally:
        shelf.close()


def _heading(number: int, title: str) -> str:
    return f"# Document {number}: {title}"


def _joined(pieces: list[tuple[str, Piece]], topic: Topic, counter: TokenCounter) -> Bundle:
    headings = counter.pieces([_heading(number, title) for number, (title, _) in enumerate(pieces, start=1)])
    texts: list[str] = []
    documents = []
    length = offset = 0
    for heading, (title, piece) in zip(headings, pieces, strict=True):
        documents.append(Placed(title, length, offset, heading.tokens + piece.tokens))
        texts += [heading.text, piece.text]
        length += len(heading.text) + len(piece.text) + 2 * len(SEPARATOR)
        offset += heading.tokens + piece.tokens
    return Bundle(SEPARATOR.join(texts), offset, documents, topic)
