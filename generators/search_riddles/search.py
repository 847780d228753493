"""The embedded search: BM25 over pages, as a tool that answers in JSON.

    search({"query": "who designed the Louvre pyramid", "max_results": 3})
    {"query": "...", "results": [{"url": "https://atlas.example/wiki/...", "title": "Louvre", "content": "..."}, ...]}

`content` holds the sentences of a page that have most to do with the query. Words are compared without case, accents
and English endings. The index lives in memory, made by one thread, so that equal scores always come in one order.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009); Tantivy
(https://github.com/quickwit-oss/tantivy). The shape of results is that of web search services for agents.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError

from generators.search_riddles.names import STEM, tokens
from generators.search_riddles.pages import Page, read_pages
from gristmill import Context
from gristmill.errors import ConfigError
from schemas import Config, FunctionSpec, JsonObject, Tool, ToolCall

_SENTENCE = re.compile(r"\n+|(?<=[^A-Z\s][a-z)\"'][.!?])\s+(?=[A-Z])")  # not after an initial, nor after `St.`
_TITLE_BOOST = 3.0
_HEAP = 15_000_000
"""Bytes that the indexing thread may use; Tantivy asks for no less."""


class Query(Config):
    """What the tool takes."""

    query: Annotated[str, Field(min_length=1, max_length=1000)]
    max_results: Annotated[int, Field(ge=1, le=10)] = 5


SEARCH = Tool(
    function=FunctionSpec(
        name="search",
        description="Full-text search in an encyclopedia. Returns the pages that fit best, with excerpts.",
        parameters={
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "Words to look for.", "minLength": 1, "maxLength": 1000},
                "max_results": {"type": "integer", "description": "How many pages to return.", "minimum": 1,
                                "maximum": 10, "default": 5},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    )
)  # fmt: skip


class Index:
    """Pages, and where words are in them."""

    def __init__(self, pages: Iterable[Page], excerpt: int = 600) -> None:
        tantivy = _tantivy()
        builder = tantivy.SchemaBuilder()
        for name in ("title", "text"):
            builder.add_text_field(name, tokenizer_name="folded")
        builder.add_integer_field("number", stored=True)
        self._index = tantivy.Index(builder.build())
        self._index.register_tokenizer("folded", _analyzer(tantivy))
        self._excerpt = excerpt
        self.pages = list(pages)
        writer = self._index.writer(heap_size=_HEAP, num_threads=1)
        for number, page in enumerate(self.pages):
            writer.add_document(tantivy.Document(title=page.title, text=page.text, number=number))
        writer.commit()
        self._index.reload()
        self._searcher = self._index.searcher()

    def find(self, query: str, most: int) -> list[Page]:
        """The pages that fit best. Signs that mean something in a query language are taken as spaces."""
        words = " ".join(tokens(query))
        if not words:
            return []
        parsed, _ = self._index.parse_query_lenient(words, ["title", "text"], field_boosts={"title": _TITLE_BOOST})
        hits = self._searcher.search(parsed, most + 20).hits
        numbered = [(-score, self._searcher.doc(address)["number"][0]) for score, address in hits]
        return [self.pages[number] for _, number in sorted(numbered)[:most]]

    def answer(self, query: str, most: int) -> JsonObject:
        """The tool's result."""
        wanted = _beginnings(query)
        found: list[Any] = [
            {
                "url": page.url,
                "title": page.title,
                "content": _excerpt(page.text, wanted - _beginnings(page.title), self._excerpt),
            }
            for page in self.find(query, most)
        ]
        return {"query": query, "results": found}


def _tantivy() -> Any:
    try:
        import tantivy
    except ImportError:
        raise ConfigError("the embedded search needs tantivy: pip install 'gristmill[riddles]'.") from None
    return tantivy


def _analyzer(tantivy: Any) -> Any:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (tantivy.Filter.lowercase(), tantivy.Filter.ascii_fold(), tantivy.Filter.stemmer("english")):
        builder = builder.filter(step)
    return builder.build()


def _beginnings(text: str) -> set[str]:
    """Words without their endings, roughly."""
    return {token[:STEM] for token in tokens(text)}


def _excerpt(text: str, wanted: set[str], most: int) -> str:
    """The first sentence and those that have most to do with the query, in their order, within so many characters.

    A word that many sentences of the page share says less about each of them.
    """
    sentences = _SENTENCE.split(text)
    found = [wanted & _beginnings(sentence) for sentence in sentences]
    shared = Counter(word for words in found for word in words)
    weights = [sum(1 / shared[word] for word in words) for words in found]
    kept, length = [0], len(sentences[0])
    for place in sorted(range(1, len(sentences)), key=lambda place: (-weights[place], place)):
        if length + len(sentences[place]) < most:
            kept.append(place)
            length += len(sentences[place]) + 1
    return " ".join(sentences[place] for place in sorted(kept))[:most]


def cut_to(found: Any, most: int) -> str:
    """A result in JSON with as many of its pages as fit into so many characters."""
    while len(told := orjson.dumps(found).decode()) > most and found["results"]:
        found = {**found, "results": found["results"][:-1]}
    return told


@contextmanager
def open_index(paths: tuple[str, ...], excerpt: int) -> Iterator[Index]:
    """An index over files of pages, for `ctx.resource`. ConfigError where one can't be read."""
    yield Index((page for path in paths for page in read_pages(Path(path))), excerpt)


class EmbeddedSearch:
    """The tools of an agent that searches in this index."""

    tools: list[Tool] = [SEARCH]

    def __init__(self, index: Index, characters: int) -> None:
        self._index, self._characters = index, characters

    async def call(self, call: ToolCall, ctx: Context) -> str:
        try:
            asked = Query.model_validate(orjson.loads(call.function.arguments))
        except ValidationError as error:
            return orjson.dumps({"error": str(error.errors()[0]["msg"])}).decode()
        request: JsonObject = {"tool": "search", "arguments": asked.model_dump()}
        found = await ctx.effect("tool", request, lambda: self._found(asked))
        return cut_to(found, self._characters)

    async def _found(self, asked: Query) -> JsonObject:
        return await asyncio.to_thread(self._index.answer, asked.query, asked.max_results)
