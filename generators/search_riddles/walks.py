"""Random walks: a start entity, four to eight facts, an answer entity.

    Walk(entities=("Aida", "Giuseppe Verdi", "Busseto", ...), steps=(Step(P86, True, ...), ...))

A walk starts at a hub of a class, takes each step by a relation drawn at random and then one of its statements, and
never comes to an entity twice. Every step that is barred has a reason, and a walk is lost for the reason that barred
most of its last steps:

    meta_relation       instances, classes, categories, lists: nothing about the world
    description         a relation that says what many things have in common (occupation, continent, time zone)
    stop_node           an entity of an abstract class, or one of the config's `stop`
    unlabelled          no label, or one that can't stand in a sentence
    unclassed           nothing that the riddle could call it
    cycle               was there before
    there_and_back      the same relation in the other direction: a sibling, not a fact
    fan_out             one of more than `most_siblings` by that relation: nothing tells it from the others
    too_short           ends before it has the hops asked for
    endpoint_timeout    the service can't tell the surroundings in time
    generic_answer      an answer with more links than `answer_links`
    class_full          answers of this class have their share already

Source: Nemotron 3 Super report (arXiv 2604.12374), search: random walks of 4-8 hops from hubs, with stop nodes.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from random import Random
from typing import Annotated

from pydantic import Field

from generators.search_riddles.knowledge import Knowledge, Step
from generators.search_riddles.sparql.endpoint import QueryFailed
from generators.search_riddles.vocabulary import Kind, Vocabulary, meta_relations
from schemas import Config

MOST_LETTERS = 60
_UNSAYABLE = frozenset("{}<>[]|\\\n\t#=")


class WalkLimits(Config):
    """`hops` are the lengths that are drawn, evenly. `answer_share` bounds the share of one class among the answers."""

    hops: Annotated[list[Annotated[int, Field(ge=1, le=12)]], Field(min_length=1)] = [4, 5, 6, 7, 8]
    hub_links: Annotated[int, Field(ge=0)] = 4
    hubs_per_class: Annotated[int, Field(ge=1)] = 100
    answer_links: Annotated[int, Field(ge=1)] = 250
    answer_share: Annotated[float, Field(gt=0, le=1)] = 0.12
    most_siblings: Annotated[int, Field(ge=1)] = 25
    stop: list[str] = []


@dataclass(frozen=True, slots=True)
class Walk:
    """`steps[i]` leads from `entities[i]` to `entities[i + 1]`; `kinds` are the entities' classes."""

    entities: tuple[str, ...]
    steps: tuple[Step, ...]
    kinds: tuple[Kind, ...]

    @property
    def answer(self) -> str:
        return self.entities[-1]

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """Its statements, in the graph's direction."""
        pairs = zip(self.entities, self.steps, strict=False)
        return [(at, s.property, s.other) if s.forward else (s.other, s.property, at) for at, s in pairs]


class Lost(Exception):
    """A walk or a riddle that is thrown away, with the word that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Walker:
    """Draws walks. What it finds out about an entity's steps is kept, so they are looked at once."""

    def __init__(self, graph: Knowledge, vocabulary: Vocabulary, limits: WalkLimits) -> None:
        self._graph, self._vocabulary, self._limits = graph, vocabulary, limits
        self._stop = frozenset(limits.stop)
        self._open: dict[str, list[tuple[tuple[str, bool], list[Step]]]] = {}
        self._barred: dict[str, Counter[str]] = {}
        self._kinds: dict[str, Kind | str] = {}
        self.answers: Counter[str] = Counter()

    async def walk(self, start: str, hops: int, rng: Random) -> Walk:
        """A walk from `start`; Lost with a reason where it doesn't come to an end."""
        path: list[str] = [start]
        steps: list[Step] = []
        kinds = [self._kind_or_lose(start)]
        seen = {start}
        for _ in range(hops):
            step = await self._next(path[-1], steps[-1] if steps else None, seen, rng)
            steps.append(step)
            path.append(step.other)
            seen.add(step.other)
            kinds.append(self._kind_or_lose(step.other))
        walk = Walk(tuple(path), tuple(steps), tuple(kinds))
        self._check_answer(walk)
        return walk

    async def _next(self, at: str, last: Step | None, seen: set[str], rng: Random) -> Step:
        if at not in self._open:
            await self._survey(at)
        groups, reasons = list(self._open[at]), Counter(self._barred[at])
        while groups:
            (prop, forward), steps = groups.pop(rng.randrange(len(groups)))
            if last is not None and prop == last.property and forward != last.forward:
                reasons["there_and_back"] += len(steps)
                continue
            fresh = [step for step in steps if step.other not in seen]
            reasons["cycle"] += len(steps) - len(fresh)
            if fresh:
                return fresh[rng.randrange(len(fresh))]
        raise Lost(max(reasons, key=lambda reason: (reasons[reason], reason)) if reasons.total() else "too_short")

    async def _survey(self, at: str) -> None:
        """Sorts the steps from an entity into those that are open, by relation and direction, and the barred."""
        try:
            around = await self._graph.visit(at)
        except QueryFailed as failed:
            raise Lost(f"endpoint_{failed.reason}", str(failed)) from None
        barred: Counter[str] = Counter()
        groups: dict[tuple[str, bool], list[Step]] = defaultdict(list)
        for step in around:
            reason = self._reason(at, step)
            if reason:
                barred[reason] += 1
            else:
                groups[step.property, step.forward].append(step)
        for key in [key for key, steps in groups.items() if len(steps) > self._limits.most_siblings]:
            barred["fan_out"] += len(groups.pop(key))
        self._open[at], self._barred[at] = list(groups.items()), barred

    def _reason(self, at: str, step: Step) -> str:
        if step.property in meta_relations():
            return "meta_relation"
        subject = self._vocabulary.kind(self._graph.entity(at if step.forward else step.other))
        if not self._vocabulary.relation(step.property, subject).hop:
            return "description"
        kind = self.kind(step.other)
        return kind if isinstance(kind, str) else ""

    def kind(self, identity: str) -> Kind | str:
        """What a riddle calls an entity, or why it can't."""
        if identity not in self._kinds:
            self._kinds[identity] = self._find_kind(identity)
        return self._kinds[identity]

    def _find_kind(self, identity: str) -> Kind | str:
        entity = self._graph.entity(identity)
        if not sayable(entity.label):
            return "unlabelled"
        kind = self._vocabulary.kind(entity)
        if kind is None:
            return "unclassed"
        return "stop_node" if kind.role == "abstract" or self._stop & {identity, entity.label} else kind

    def _kind_or_lose(self, identity: str) -> Kind:
        kind = self.kind(identity)
        if isinstance(kind, str):
            raise Lost(kind)
        return kind

    def _check_answer(self, walk: Walk) -> None:
        if self._graph.entity(walk.answer).links > self._limits.answer_links:
            raise Lost("generic_answer")
        name = walk.kinds[-1].name
        if self.answers[name] + 1 > max(2.0, self._limits.answer_share * (self.answers.total() + 20)):
            raise Lost("class_full")


def sayable(label: str) -> bool:
    """Whether a label can stand in a sentence: not empty, not long, no braces or markup, not an id."""
    return 0 < len(label) <= MOST_LETTERS and not _UNSAYABLE & set(label) and not label.startswith(("http", "urn:"))
