"""The bundled graph, served once for all tests of search_riddles, and what they build of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from generators.search_riddles import Params, _finder
from generators.search_riddles.knowledge import Knowledge
from generators.search_riddles.making import Made, known_graph, make_riddles
from generators.search_riddles.pages import Page, pages
from generators.search_riddles.riddles import Maker, RiddleLimits
from generators.search_riddles.search import Index
from generators.search_riddles.sparql.server import Embedded, serving
from generators.search_riddles.vocabulary import Vocabulary
from generators.search_riddles.walks import Walker, WalkLimits

WANTED = 120


@dataclass
class World:
    """A graph with its server, its pages and an index of them."""

    endpoint: Embedded
    graph: Knowledge
    vocabulary: Vocabulary
    pages: list[Page]
    index: Index

    def walker(self, limits: WalkLimits | None = None) -> Walker:
        return Walker(self.graph, self.vocabulary, limits or WalkLimits())

    def maker(self, limits: RiddleLimits | None = None) -> Maker:
        return Maker(self.graph, self.vocabulary, limits or RiddleLimits(), _finder(self.index))

    def make(self, wanted: int, seed: int = 0, limits: WalkLimits | None = None) -> Made:
        limits = limits or WalkLimits()
        return asyncio.run(
            make_riddles(
                self.graph, self.vocabulary, self.walker(limits), self.maker(), limits, wanted, wanted * 100, seed
            )
        )


@contextmanager
def world(*files: str) -> Iterator[World]:
    """A world of these files; the bundled one without any."""
    with serving(files or Params().graph_files) as endpoint:
        graph = asyncio.run(known_graph(endpoint, True, "en", []))
        vocabulary = Vocabulary(graph)
        written = list(pages(graph, vocabulary))
        yield World(endpoint, graph, vocabulary, written, Index(written))
