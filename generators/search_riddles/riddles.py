"""From a walk to a riddle that has one answer.

A riddle hides every entity of its walk behind its class. What makes it definite are constraints: statements about
hidden entities whose other end is named, at most two for each. The start has the most telling ones; where that is not
enough, entities in the middle get some, the least telling first, until the endpoint knows exactly one answer. Nothing
is said of the answer itself, and constraints that turn out not to be needed are taken away again.

    SELECT DISTINCT ?answer WHERE { ?e0 wdt:P407 wd:Q652 . ?e0 wdt:P31 wd:Q1344 . ?e0 wdt:P840 ?e1 . ... } LIMIT 20

is stored with the riddle, and so are all its answers. Reasons for which one is lost, besides those of walks:

    no_anchor             nothing can be said of the start that gives nothing away
    shortcut              what is said further along is enough without the first hop
    ambiguous             more answers than `answers`, with all constraints that there are
    unanswerable          the endpoint finds no answer at all, not even the walk's
    uniqueness_timeout    it can't count them in time
    answer_leak, intermediate_leak    a label or an alias of a hidden entity is in the question
    name_hint             a word of the question begins as a word of a hidden entity's label does
    one_search            the question itself, as a query, finds the answer's page among the first ten

Source: Nemotron 3 Super report (arXiv 2604.12374), search; uniqueness and leaks checked by the graph are ours.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from functools import cache
from random import Random
from typing import Annotated

from pydantic import Field

from generators.search_riddles.knowledge import Knowledge, Step
from generators.search_riddles.names import STEM, Text, stems, tokens
from generators.search_riddles.pages import url_of
from generators.search_riddles.sparql.endpoint import QueryFailed
from generators.search_riddles.sparql.queries import PREFIXES, short, term, values
from generators.search_riddles.vocabulary import Kind, Vocabulary, known_kinds, known_relations, meta_relations
from generators.search_riddles.walks import Lost, Walk, sayable
from generators.search_riddles.wording import FORMS, Constraint, Wording
from schemas import Config, Seed

MOST_ANSWERS = 20
_PER_ENTITY = 2
_OFFERS = 4
"""What is tried of all that could be said of an entity in the middle, the least telling first."""
FIRST = 10
"""Results of a search among which the answer's page must not be."""


class Fact(Seed):
    """One statement of the walk, in Wikidata's direction."""

    subject: str
    property: str
    object: str
    text: str


class Named(Seed):
    """An entity: `id` as people know it (Q90), `iri` as the graph does."""

    id: str
    iri: str
    label: str
    aliases: list[str]
    kind: str


class Riddle(Seed):
    """One line of riddles.jsonl. `entities` go from the start to the answer; `answers` are all that the graph knows;
    `anchors` are the names that the question gives."""

    question: str
    draft: str
    shape: str
    hops: int
    entities: list[Named]
    facts: list[Fact]
    constraints: list[Fact]
    anchors: list[str]
    answers: list[Named]
    sparql: str

    @property
    def answer(self) -> Named:
        return self.entities[-1]

    @property
    def hidden(self) -> list[Named]:
        """What the question must not name: the walk, and whatever else would be right."""
        return [*self.entities, *self.answers[1:]]


class RiddleLimits(Config):
    """`answers` is how many a riddle may have; `constraints` how many it may name in all."""

    answers: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] = 1
    constraints: Annotated[int, Field(ge=1, le=12)] = 6
    one_search: bool = True


Finds = Callable[[str, int], list[str]]
"""The addresses of the pages that a search for a text finds first."""


class Maker:
    """Makes riddles of walks through one graph."""

    def __init__(self, graph: Knowledge, vocabulary: Vocabulary, limits: RiddleLimits, finds: Finds | None) -> None:
        self._graph, self._vocabulary, self._limits, self._finds = graph, vocabulary, limits, finds

    async def riddle(self, walk: Walk, rng: Random) -> Riddle:
        """Lost with a reason where there is none to be made."""
        constraints = await self._constrained(walk, rng)
        query = uniqueness(walk, constraints)
        answers = await self._queried(query)
        if walk.answer not in answers or len(answers) > self._limits.answers:
            raise Lost("unanswerable" if walk.answer not in answers else "ambiguous", f"{len(answers)} answers")
        wording = Wording(self._graph, self._vocabulary, walk, rng, names=self._without_classes(walk, constraints))
        shape = wording.shape()
        question = wording.riddle(constraints, shape)
        riddle = Riddle(
            question=question, draft=wording.draft(), shape=shape, hops=len(walk.steps),
            entities=[self._named(one) for one in walk.entities],
            facts=[self._fact(at, step) for at, step in zip(walk.entities, walk.steps, strict=False)],
            constraints=[self._fact(walk.entities[one.position], one.step) for one in constraints],
            anchors=[self._graph.entity(one.step.other).label for one in constraints],
            answers=[self._named(one) for one in sorted(answers, key=lambda one: (one != walk.answer, one))],
            sparql=query,
        )  # fmt: skip
        if leak := leaked(riddle, question):
            raise Lost(*leak)
        if self._limits.one_search and self._finds and url_of(walk.answer) in self._finds(question, FIRST):
            raise Lost("one_search", question)
        return riddle

    async def _constrained(self, walk: Walk, rng: Random) -> list[Constraint]:
        """Constraints with which the walk has few enough answers; nothing is said of the answer itself."""
        offers = self._offers(walk, rng)
        chosen = offers[0][-_PER_ENTITY:]
        if not chosen:
            raise Lost("no_anchor")
        answers = await self._answers(walk, chosen)
        for position in self._branching(walk):
            if len(answers) <= self._limits.answers or len(chosen) >= self._limits.constraints:
                break
            for offer in offers[position][:_OFFERS]:
                fewer = await self._answers(walk, [*chosen, offer])
                if len(fewer) < len(answers):
                    chosen, answers = [*chosen, offer], fewer
                    break
        if len(answers) > self._limits.answers:
            raise Lost("ambiguous", f"{len(answers)} answers")
        return await self._pruned(walk, chosen)

    def _branching(self, walk: Walk) -> list[int]:
        """The places where a constraint helps, each as often as it may have one: where many are as far along."""
        between = range(1, len(walk.steps))
        ordered = sorted(between, key=lambda position: (-self._siblings(walk, position), position))
        return [position for _ in range(_PER_ENTITY) for position in ordered]

    async def _pruned(self, walk: Walk, chosen: list[Constraint]) -> list[Constraint]:
        """Without the constraints that nothing depends on; one always tells the start. Lost where what is said further
        along is enough without the walk's first step: then the hops before it are no part of the riddle."""
        for one in sorted(chosen, key=lambda one: -one.position):
            fewer = [other for other in chosen if other is not one]
            if (
                any(other.position == 0 for other in fewer)
                and len(await self._answers(walk, fewer)) <= self._limits.answers
            ):
                chosen = fewer
        later = [one for one in chosen if one.position > 0]
        if later and len(await self._answers(walk, later, start=1)) <= self._limits.answers:
            raise Lost("shortcut")
        return chosen

    async def _answers(self, walk: Walk, constraints: Sequence[Constraint], start: int = 0) -> list[str]:
        """Of a graph that is known as a whole by following the walk from all its possible starts, else by the query."""
        if self._graph.whole:
            return reached(self._graph, walk, constraints, start)
        return await self._queried(uniqueness(walk, constraints, start))

    def _without_classes(self, walk: Walk, constraints: Sequence[Constraint]) -> bool:
        """Whether the relations alone have few enough answers, so that `the author of ...` needn't say `novelist`."""
        if not self._graph.whole:
            return False
        return len(reached(self._graph, walk, constraints, classes=False)) <= self._limits.answers

    async def _queried(self, query: str) -> list[str]:
        try:
            return [row["answer"] for row in await self._graph.endpoint.select(query)]
        except QueryFailed as failed:
            raise Lost(f"uniqueness_{failed.reason}", str(failed)) from None

    def _offers(self, walk: Walk, rng: Random) -> list[list[Constraint]]:
        """For each entity of the walk what could be said of it, the most telling last."""
        hidden = frozenset(walk.entities)
        barred = frozenset(stem for one in walk.entities for stem in stems(self._graph.entity(one).label))
        offers = []
        for position, identity in enumerate(walk.entities):
            steps = rng.sample(self._graph.around[identity], len(self._graph.around[identity]))
            told: dict[tuple[str, bool], Constraint] = {}  # says no relation twice, nor one that the walk takes
            taken = _relations_at(walk, position)
            for step in (step for step in steps if step.other not in hidden):
                relation = step.property, step.forward
                if relation not in told and relation not in taken and self._may_be_named(step, barred, walk):
                    told[relation] = Constraint(position, step)
            offers.append(sorted(told.values(), key=lambda one: -self._shared(one.step)))
        return offers

    def _may_be_named(self, step: Step, barred: frozenset[str], walk: Walk) -> bool:
        label = self._graph.entity(step.other).label
        if step.property in meta_relations() or not sayable(label) or stems(label) & barred:
            return False
        if step.other in {kind.work for kind in walk.kinds}:  # a physicist who worked as a physicist
            return False
        text = Text(label)
        return not any(text.first_of(self._graph.entity(one).names) for one in walk.entities)

    def _shared(self, step: Step) -> int:
        """How many entities the same could be said of."""
        return len(self._graph.others(step.other, step.property, not step.forward))

    def _siblings(self, walk: Walk, position: int) -> int:
        """How many entities are as far along as this one, seen from the one before it."""
        step = walk.steps[position - 1]
        return len(self._graph.others(walk.entities[position - 1], step.property, step.forward))

    def _named(self, identity: str) -> Named:
        entity = self._graph.entity(identity)
        kind = self._vocabulary.kind(entity)
        return Named(id=short(identity), iri=identity, label=entity.label, aliases=entity.aliases,
                     kind=kind.name if kind else "")  # fmt: skip

    def _fact(self, at: str, step: Step) -> Fact:
        subject, value = (at, step.other) if step.forward else (step.other, at)
        relation = self._vocabulary.relation(step.property, self._vocabulary.kind(self._graph.entity(subject)))
        said = relation.said(True).verbs[0].replace("{}", self._graph.entity(value).label)
        return Fact(subject=short(subject), property=short(step.property), object=short(value),
                    text=f"{self._graph.entity(subject).label} {said}")  # fmt: skip


def _relations_at(walk: Walk, position: int) -> set[tuple[str, bool]]:
    """The relations by which an entity hangs on its neighbours in the walk, as seen from it."""
    ahead = {(step.property, step.forward) for step in walk.steps[position : position + 1]}
    return ahead | {(step.property, not step.forward) for step in walk.steps[max(0, position - 1) : position]}


def reached(
    graph: Knowledge, walk: Walk, constraints: Sequence[Constraint], start: int = 0, most: int = MOST_ANSWERS,
    classes: bool = True,
) -> list[str]:  # fmt: skip
    """What `uniqueness` asks for, found in memory: all entities that the walk's relations lead to, step by step.
    Without `classes` an entity may be of any, where something else is said of it."""
    at: Set[str] | None = None
    for position in range(start, len(walk.entities)):
        if at is not None:
            step = walk.steps[position - 1]
            at = {other for one in at for other in graph.others(one, step.property, step.forward)}
        for constraint in (one for one in constraints if one.position == position):
            step = constraint.step
            fitting = set(graph.others(step.other, step.property, not step.forward))
            at = fitting if at is None else at & fitting
        if classes or at is None:
            members = graph.members(tuple(walk.kinds[position].classes), walk.kinds[position].work)
            at = members if at is None else at & members
    return sorted(at or ())[:most]


def uniqueness(walk: Walk, constraints: Sequence[Constraint], start: int = 0) -> str:
    """A query for all answers: variables for all hidden entities from `start` on, their classes, the walk between
    them, the constraints."""
    last = len(walk.steps)
    variables = [f"?e{position}" for position in range(last)] + ["?answer"]
    lines = [_triple(variables[one.position], one.step, term(one.step.other)) for one in constraints]
    for position, kind in list(enumerate(walk.kinds))[start:]:
        lines.append(_of_kind(variables[position], position, kind))
        if position < last:
            lines.append(_triple(variables[position], walk.steps[position], variables[position + 1]))
    body = "\n  ".join(lines)
    return f"{PREFIXES}SELECT DISTINCT ?answer WHERE {{\n  {body}\n}} LIMIT {MOST_ANSWERS}"


def _triple(variable: str, step: Step, other: str) -> str:
    subject, value = (variable, other) if step.forward else (other, variable)
    return f"{subject} {term(step.property)} {value} ."


def _of_kind(variable: str, position: int, kind: Kind) -> str:
    if kind.work:
        return f"{variable} wdt:P106 {term(kind.work)} ."
    if len(kind.classes) == 1:
        return f"{variable} wdt:P31 {term(kind.classes[0])} ."
    return f"FILTER EXISTS {{ {values(f'c{position}', kind.classes)} {variable} wdt:P31 ?c{position} }}"


def leaked(riddle: Riddle, question: str) -> tuple[str, str] | None:
    """(reason, name) where a question gives a hidden entity away."""
    text, right = Text(question), {one.iri for one in riddle.answers}
    for one in reversed(riddle.hidden):
        if name := text.first_of([one.label, *one.aliases]):
            return ("answer_leak" if one.iri in right else "intermediate_leak"), name
    for one in riddle.hidden:
        if hint := (stems(one.label) & text.stems) - _everyday():
            return "name_hint", f"{one.label}: {sorted(hint)[0]}"
    return None


@cache
def _everyday() -> frozenset[str]:
    """Beginnings of the words that riddles are made of."""
    return frozenset(token[:STEM] for token in _words() if len(token) >= STEM)


def _words() -> Iterator[str]:
    for kind in known_kinds():
        yield from (token for noun in [kind.name, *kind.nouns] for token in tokens(noun))
    for relation in (one for sorts in known_relations().values() for one in sorts.values()):
        yield from (token for said in [*relation.out.wordings, *relation.into.wordings] for token in tokens(said))
    yield from (token for form in FORMS for token in tokens(form))
    yield from ("international", "national", "northern", "southern", "eastern", "western", "south", "north")
