"""How fast riddles are made, before any model is called.

    python benchmarks/search_riddles.py [--graph statements.tsv entities.jsonl ...] [--riddles 1000] [--rounds 3]

Printed as medians over the rounds, wall and CPU of this process: loading the graph (server, names and statements) and
its index, walks per second, one uniqueness query; then once, with what was lost, the time for all riddles. The floor of
a query is the smallest one there is, by the same client.
"""

import argparse
import asyncio
import statistics
import time
from collections import Counter
from random import Random

import orjson

from generators.search_riddles import Params, _finder
from generators.search_riddles.knowledge import Knowledge
from generators.search_riddles.making import known_graph, make_riddles, starts
from generators.search_riddles.pages import pages
from generators.search_riddles.riddles import Maker, RiddleLimits
from generators.search_riddles.search import Index
from generators.search_riddles.sparql.server import Embedded, serving
from generators.search_riddles.vocabulary import Vocabulary
from generators.search_riddles.walks import Lost, Walker, WalkLimits
from gristmill.text.diversity import diversity

WALKS = 4000


class Clock:
    """Wall and CPU seconds by name, over rounds."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, float]]] = {}

    def lap(self, name: str, begun: tuple[float, float]) -> tuple[float, float]:
        now = moment()
        self._seen.setdefault(name, []).append((now[0] - begun[0], now[1] - begun[1]))
        return now

    def tell(self) -> None:
        for name, laps in self._seen.items():
            wall, cpu = (statistics.median(lap[place] for lap in laps) for place in (0, 1))
            print(f"{name:28} {wall:7.2f} s wall {cpu:7.2f} s CPU")


def moment() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", nargs="*", default=[])
    parser.add_argument("--riddles", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files, clock = tuple(arguments.graph) or Params().graph_files, Clock()
    for round_ in range(arguments.rounds):
        begun = moment()
        with serving(files) as endpoint:
            begun = clock.lap("server with its statements", begun)
            graph = asyncio.run(known_graph(endpoint, True, "en", []))
            vocabulary = Vocabulary(graph)
            begun = clock.lap("graph read", begun)
            index = Index(pages(graph, vocabulary))
            clock.lap("index", begun)
            walk_speed(graph, vocabulary)
            if round_ + 1 == arguments.rounds:
                clock.tell()
                all_riddles(graph, vocabulary, index, arguments.riddles, endpoint)


def walk_speed(graph: Knowledge, vocabulary: Vocabulary) -> None:
    limits = WalkLimits(answer_share=1.0)
    walker, rng = Walker(graph, vocabulary, limits), Random(0)

    async def draw() -> int:
        hubs = list((await starts(graph, walker, limits)).values())
        valid = 0
        for number in range(WALKS):
            try:
                await walker.walk(rng.choice(rng.choice(hubs)), 4 + number % 5, rng)
                valid += 1
            except Lost:
                pass
        return valid

    begun = moment()
    valid = asyncio.run(draw())
    wall, cpu = (now - then for now, then in zip(moment(), begun, strict=True))
    print(f"{valid} valid walks of {WALKS}: {valid / wall:.0f}/s wall, {valid / cpu:.0f}/s CPU")


def all_riddles(graph: Knowledge, vocabulary: Vocabulary, index: Index, wanted: int, endpoint: Embedded) -> None:
    limits = WalkLimits()
    walker = Walker(graph, vocabulary, limits)
    maker = Maker(graph, vocabulary, RiddleLimits(), _finder(index))
    begun = moment()
    made = asyncio.run(make_riddles(graph, vocabulary, walker, maker, limits, wanted, wanted * 100, 0))
    wall, cpu = (now - then for now, then in zip(moment(), begun, strict=True))
    print(f"{len(made.riddles)} riddles in {wall:.1f} s wall, {cpu:.1f} s CPU")
    print(orjson.dumps(made.account()).decode())
    print("hops", dict(sorted(Counter(one.hops for one in made.riddles).items())))
    print("classes", dict(Counter(one.answer.kind for one in made.riddles).most_common(12)))
    print("constraints", dict(Counter(len(one.constraints) for one in made.riddles)))
    relevant = {one.iri for riddle in made.riddles for one in riddle.entities}
    print(f"pages {len(index.pages)}, of which {len(relevant)} are on a walk")
    print("diversity", diversity([one.question for one in made.riddles[:200]]))
    once = statistics.median(timed(endpoint, riddle.sparql) for riddle in made.riddles[:300])
    floor = statistics.median(timed(endpoint, "SELECT ?x WHERE { BIND(1 AS ?x) }") for _ in range(300))
    print(f"uniqueness query {once * 1000:.1f} ms, floor {floor * 1000:.1f} ms (medians)")


def timed(endpoint: Embedded, query: str) -> float:
    begun = time.perf_counter()
    asyncio.run(endpoint.select(query))
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
