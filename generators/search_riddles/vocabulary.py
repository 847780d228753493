"""What a riddle calls things: classes of entities (classes.yaml) and relations (relations.yaml).

    vocabulary.kind(entity).nouns        ["country", "nation", "land"]
    vocabulary.relation(P36).said(True)  ["has {} as its capital", "is governed from {}", ...]

A class or a relation that the files don't know, as a user's own graph has them, is called by its label.
"""

from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import yaml

from generators.search_riddles.knowledge import Entity, Knowledge
from generators.search_riddles.sparql.files import iri
from generators.search_riddles.sparql.queries import DIRECT, ENTITY, short
from schemas import Config

_FOLDER = Path(__file__).parent


class Kind(Config):
    """A class: `ids` are its Q ids, or `occupation` one where it is what people do. `article` stands before names."""

    name: str
    nouns: list[str]
    ids: list[str] = []
    occupation: str = ""
    who: bool = False
    role: Literal["entity", "abstract"] = "entity"
    article: Literal["", "a", "the"] = ""

    @cached_property
    def classes(self) -> list[str]:
        return [iri(one) for one in self.ids]

    @cached_property
    def work(self) -> str:
        return iri(self.occupation) if self.occupation else ""


class Relation(Config):
    """`out` says it of the subject, `into` of the object; {} stands for the other one."""

    label: str
    hop: bool = True
    out: list[str]
    into: list[str]

    def said(self, forward: bool) -> list[str]:
        return self.out if forward else self.into


@cache
def known_kinds() -> list[Kind]:
    rows = yaml.safe_load((_FOLDER / "classes.yaml").read_text("utf-8"))
    return [Kind(name=name, **row) for name, row in rows.items()]


@cache
def known_relations() -> dict[str, Relation]:
    rows = yaml.safe_load((_FOLDER / "relations.yaml").read_text("utf-8"))
    return {
        DIRECT + name: Relation(label=row["label"], hop=row.get("hop", True), out=row["out"], into=row["in"])
        for name, row in rows.items()
        if name != "meta"
    }


@cache
def meta_relations() -> frozenset[str]:
    rows = yaml.safe_load((_FOLDER / "relations.yaml").read_text("utf-8"))
    return frozenset(DIRECT + name for name in rows["meta"])


class Vocabulary:
    """The words for one graph."""

    def __init__(self, graph: Knowledge) -> None:
        self._graph = graph
        self._by_class = {one: kind for kind in reversed(known_kinds()) for one in kind.classes}
        self._by_work = {kind.work: kind for kind in reversed(known_kinds()) if kind.work}
        self._relations = dict(known_relations())

    def kind(self, entity: Entity) -> Kind | None:
        """Its class: what a human does, a class that the file knows, else its class's label; None where it has none."""
        for work in entity.occupations:
            if work in self._by_work:
                return self._by_work[work]
        for one in entity.classes:
            if one in self._by_class:
                return self._by_class[one]
        for one in entity.classes:
            label = self._graph.entity(one).label
            if label and "wiki" not in label.lower():
                return Kind(name=label, nouns=[label], ids=[short(one)])
        return None

    def relation(self, prop: str) -> Relation:
        """Its wordings; those of an unknown one are made from its label."""
        if prop not in self._relations:
            label = self._label(prop)
            out = [f"has {{}} as its {label}", f"has for its {label} {{}}"]
            self._relations[prop] = Relation(label=label, out=out, into=[f"is the {label} of {{}}"])
        return self._relations[prop]

    def _label(self, prop: str) -> str:
        """A property's label is told of the entity of the same number."""
        stated = self._graph.entities.get(prop) or self._graph.entities.get(prop.replace(DIRECT, ENTITY))
        label = stated.label if stated else ""
        return (label or short(prop).rsplit("/", 1)[-1].rsplit("#", 1)[-1]).replace("{", "(").replace("}", ")")
