"""What is known of the graph so far: entities with their names, statements in both directions.

    graph.entities["http://www.wikidata.org/entity/Q90"]     Entity(label="Paris", classes=(...Q515,), links=254, ...)
    graph.around[...]                                        [Step(property, forward, other), ...]

The embedded graph is read whole, once; of a public one, the surroundings of the entities that walks come to. Both by
the same queries. Entities are IRIs.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from generators.search_riddles.sparql import queries
from generators.search_riddles.sparql.endpoint import Endpoint, QueryFailed

_BATCH = 80
"""Entities whose names are asked for in one query to a public service."""
_MOST_INTO = 60
"""Entities that point to one, of which a public service tells; a place has more than anybody could follow."""


class Step(NamedTuple):
    """A statement as seen from one of its ends: `forward` where that end is its subject."""

    property: str
    forward: bool
    other: str


@dataclass(slots=True)
class Entity:
    """`classes` by P31, `occupations` by P106; `links` says how well connected it is."""

    id: str
    label: str = ""
    description: str = ""
    aliases: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    occupations: list[str] = field(default_factory=list)
    links: int = 0

    @property
    def names(self) -> list[str]:
        return [self.label, *self.aliases]


class Knowledge:
    """A growing part of a graph. `properties` are those that are asked for; all, where none are named."""

    def __init__(self, endpoint: Endpoint, language: str = "en", properties: Sequence[str] = ()) -> None:
        self.endpoint, self.language, self.properties = endpoint, language, properties
        self.entities: dict[str, Entity] = {}
        self.around: dict[str, list[Step]] = defaultdict(list)
        self.whole = False
        self._others: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
        self._members: dict[tuple[tuple[str, ...], str], frozenset[str]] = {}
        self._stated: set[tuple[str, str, str]] = set()
        self._visited: set[str] = set()
        self._named: set[str] = set()

    async def read_whole(self) -> None:
        """Everything, in three queries. Only for a graph of one's own."""
        select = self.endpoint.select
        stated, named, linked = await asyncio.gather(
            select(queries.statements()), select(queries.names(self.language)), select(queries.links())
        )
        self._state(stated)
        self._name(named, linked)
        self.whole = True
        for steps in self.around.values():
            steps.sort()

    async def visit(self, identity: str) -> list[Step]:
        """The steps from an entity; QueryFailed where the service can't tell them in time."""
        if not self.whole and identity not in self._visited:
            rows = await self.endpoint.select(queries.statements([identity], self.properties))
            into = await self.endpoint.select(queries.links_to(identity, self.properties, _MOST_INTO))
            self._state([*rows, *({**row, "o": identity} for row in into)])
            await self._learn([identity, *(step.other for step in self.around[identity])])
            self.around[identity].sort()
            self._visited.add(identity)
        return self.around[identity]

    async def hubs(self, classes: Sequence[str], occupation: str, least: int, most: int) -> list[str]:
        """Well connected entities of a class that the endpoint knows; none where it can't say so in time."""
        try:
            rows = await self.endpoint.select(queries.hubs(classes, occupation, least, most))
        except QueryFailed:
            return []
        found = [row["e"] for row in rows]
        await self._learn(found)
        return [identity for identity in found if self.entities[identity].label]

    async def _learn(self, identities: Iterable[str]) -> None:
        """Names, classes and links of entities that aren't known yet."""
        new = [one for one in dict.fromkeys(identities) if one not in self._named] if not self.whole else []
        kinds = [queries.INSTANCE_OF, queries.OCCUPATION]
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            self._state(await self.endpoint.select(queries.statements(batch, kinds)))
            named = await self.endpoint.select(queries.names(self.language, batch))
            self._name(named, await self.endpoint.select(queries.links(batch)))
        self._named.update(new)

    def entity(self, identity: str) -> Entity:
        if identity not in self.entities:
            self.entities[identity] = Entity(identity)
        return self.entities[identity]

    def others(self, identity: str, prop: str, forward: bool) -> list[str]:
        """The other ends of one relation of an entity, in one direction."""
        return self._others.get((identity, prop, forward), [])

    def members(self, classes: tuple[str, ...], work: str) -> frozenset[str]:
        """All entities of these classes, or all people of an occupation, in a graph that is known as a whole."""
        if (classes, work) not in self._members:
            pairs = [(work, queries.OCCUPATION)] if work else [(one, queries.INSTANCE_OF) for one in classes]
            found = frozenset(one for kind, prop in pairs for one in self.others(kind, prop, False))
            self._members[classes, work] = found
        return self._members[classes, work]

    def _state(self, rows: Iterable[dict[str, str]]) -> None:
        for row in rows:
            stated = row["s"], row["p"], row["o"]
            if stated in self._stated:
                continue
            self._stated.add(stated)
            subject, prop, value = stated
            known = self.entity(subject)
            self.entity(value)
            if prop == queries.INSTANCE_OF:
                known.classes.append(value)
            elif prop == queries.OCCUPATION:
                known.occupations.append(value)
            for one, step in ((subject, Step(prop, True, value)), (value, Step(prop, False, subject))):
                self.around[one].append(step)
                self._others[one, step.property, step.forward].append(step.other)

    def _name(self, named: Iterable[dict[str, str]], linked: Iterable[dict[str, str]]) -> None:
        for row in sorted(named, key=lambda row: row["text"]):
            known, text = self.entity(row["e"]), " ".join(row["text"].split())
            if row["kind"] == queries.LABEL:
                known.label = text
            elif row["kind"] == queries.DESCRIPTION:
                known.description = text
            elif text:
                known.aliases.append(text)
        for row in linked:
            self.entity(row["e"]).links = int(float(row["n"]))
