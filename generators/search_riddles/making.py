"""All riddles of a run: hubs of every class, walks of every length, until there are enough.

Classes take turns as starts, and the length that has fewest riddles is drawn next, so neither depends on how often a
walk fails. What is lost is counted by reason, and each loss is kept: {"reason": "shortcut", "start": "Aida", ...}.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from generators.search_riddles.knowledge import Knowledge
from generators.search_riddles.riddles import Maker, Riddle
from generators.search_riddles.sparql.endpoint import Endpoint
from generators.search_riddles.sparql.queries import short
from generators.search_riddles.vocabulary import Vocabulary, known_kinds
from generators.search_riddles.walks import Lost, Walker, WalkLimits
from gristmill.errors import GristmillError
from gristmill.walk import rounds
from schemas import JsonObject

SAME_ANSWER = 2
"""Riddles that may have one answer."""
SAME_FACT = 0.025
"""Share of the riddles made so far whose walks may go over one statement; two always may."""


@dataclass(slots=True)
class Made:
    """`drawn` walks, `valid` of them, and what became of these."""

    riddles: list[Riddle] = field(default_factory=list)
    drawn: int = 0
    valid: int = 0
    losses: list[JsonObject] = field(default_factory=list)

    def account(self) -> JsonObject:
        reasons = Counter(str(loss["reason"]) for loss in self.losses)
        return {
            "drawn": self.drawn,
            "valid": self.valid,
            "riddles": len(self.riddles),
            "lost": dict(reasons.most_common()),
        }


async def starts(graph: Knowledge, walker: Walker, limits: WalkLimits) -> dict[str, list[str]]:
    """The hubs of each class that the endpoint has. GristmillError where it has none."""
    found: dict[str, list[str]] = {}
    for kind in known_kinds():
        if kind.role == "entity":
            hubs = await graph.hubs(kind.classes, kind.work, limits.hub_links, limits.hubs_per_class)
            if usable := [hub for hub in hubs if not isinstance(walker.kind(hub), str)]:
                found[kind.name] = usable
    if not found:
        raise GristmillError(
            f"the endpoint knows no entity of any class in classes.yaml with {limits.hub_links} links or more; "
            "set params.walks.hub_links lower."
        )
    return found


async def make_riddles(
    graph: Knowledge, vocabulary: Vocabulary, walker: Walker, maker: Maker, limits: WalkLimits,
    wanted: int, most_walks: int, seed: int,
) -> Made:  # fmt: skip
    """`wanted` riddles, or as many as so many walks give."""
    hubs = await starts(graph, walker, limits)
    made, rng = Made(), Random(f"riddles|{seed}")
    kinds = rounds(sorted(hubs), rng)
    lengths = Counter(dict.fromkeys(limits.hops, 0))
    answers: Counter[str] = Counter()
    facts: Counter[tuple[str, str, str]] = Counter()
    questions: set[str] = set()
    while len(made.riddles) < wanted and made.drawn < most_walks:
        hops = min(lengths, key=lambda one: (lengths[one], rng.random()))
        start = rng.choice(hubs[next(kinds)])
        made.drawn += 1
        try:
            walk = await walker.walk(start, hops, rng)
            made.valid += 1
            if answers[walk.answer] >= SAME_ANSWER:
                raise Lost("same_answer", graph.entity(walk.answer).label)
            if worn := [fact for fact in walk.facts if facts[fact] >= max(2, SAME_FACT * len(made.riddles))]:
                raise Lost("same_fact", " ".join(map(short, worn[0])))
            riddle = await maker.riddle(walk, rng)
            if riddle.question in questions:
                raise Lost("same_question")
        except Lost as lost:
            made.losses.append(
                {"reason": lost.reason, "detail": lost.detail, "start": graph.entity(start).label, "hops": hops}
            )
            continue
        made.riddles.append(riddle)
        questions.add(riddle.question)
        lengths[hops] += 1
        answers[walk.answer] += 1
        facts.update(walk.facts)
        walker.answers[riddle.answer.kind] += 1
    return made


async def known_graph(endpoint: Endpoint, whole: bool, language: str, properties: list[str]) -> Knowledge:
    """A graph of one's own is read at once, another one as walks need it."""
    graph = Knowledge(endpoint, language, () if whole else properties)
    if whole:
        await graph.read_whole()
    return graph
