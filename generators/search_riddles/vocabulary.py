"""What a riddle calls things: classes of entities (classes.yaml) and relations (relations.yaml).

    vocabulary.kind(entity).nouns               ["country", "nation", "land"]
    vocabulary.relation(P36).said(True).verbs   ["has {} as its capital", "is governed from {}", ...]
    vocabulary.relation(P36).said(False).names  ["the capital of {}", "the seat of government of {}"]

A class or a relation that the files don't know, as a user's own graph has them, is called by its label.
"""

import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from generators.search_riddles.knowledge import Entity, Knowledge
from generators.search_riddles.sparql.files import iri
from generators.search_riddles.sparql.queries import DIRECT, ENTITY, short
from schemas import Config

_FOLDER = Path(__file__).parent
_PARTICIPLE = re.compile(
    r"(?:is|was) (?=(?:\w+ed|born|found|set|run|written|made|shot|drawn|spelt|home|kept|held)(?: out| up)? "
    r"(?:in|by|at|from|for|to|of|after|with)\b)"
)


class Kind(Config):
    """A class: `ids` are its Q ids, or `occupation` one where it is what people do. `article` stands before names.
    `sort` says which wordings a relation has for it, where it has several."""

    name: str
    nouns: list[str]
    ids: list[str] = []
    occupation: str = ""
    who: bool = False
    role: Literal["entity", "abstract"] = "entity"
    article: Literal["", "a", "the"] = ""
    sort: str = ""

    @cached_property
    def classes(self) -> list[str]:
        return [iri(one) for one in self.ids]

    @cached_property
    def work(self) -> str:
        return iri(self.occupation) if self.occupation else ""


@dataclass(frozen=True, slots=True)
class Side:
    """How a relation is said of one of its ends, {} being the other: `a novel that was written by {}` (verbs),
    `a novel by {}` (behind), `the author of {}` (names), `which {noun} did {} write` (questions)."""

    verbs: list[str]
    behind: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    @property
    def wordings(self) -> list[str]:
        return [*self.verbs, *self.behind, *self.names, *self.questions]


@dataclass(frozen=True, slots=True)
class Relation:
    """`out` says it of the subject, `into` of the object."""

    label: str
    out: Side
    into: Side
    hop: bool = True

    def said(self, forward: bool) -> Side:
        return self.out if forward else self.into


@cache
def known_kinds() -> list[Kind]:
    rows = yaml.safe_load((_FOLDER / "classes.yaml").read_text("utf-8"))
    return [Kind(name=name, **row) for name, row in rows.items()]


@cache
def known_relations() -> dict[str, dict[str, Relation]]:
    """By property, and then by the sort of class that says it in its own way; "" for all others."""
    found: dict[str, dict[str, Relation]] = {}
    for name, row in _relation_rows().items():
        if name != "meta":
            prop, _, sort = name.partition("/")
            relation = Relation(row["label"], _side(row, "out"), _side(row, "in"), row.get("hop", True))
            found.setdefault(DIRECT + prop, {})[sort] = relation
    return found


def _side(row: dict[str, Any], way: str) -> Side:
    verbs = row[way]
    participles = [verb[match.end() :] for verb in verbs if (match := _PARTICIPLE.match(verb))]
    behind, names, questions = (row.get(f"{way}_{form}", []) for form in ("after", "as", "ask"))
    return Side(verbs, [*dict.fromkeys([*behind, *participles])], names, questions)


@cache
def meta_relations() -> frozenset[str]:
    return frozenset(DIRECT + name for name in _relation_rows()["meta"])


@cache
def _relation_rows() -> dict[str, Any]:
    rows: dict[str, Any] = yaml.safe_load((_FOLDER / "relations.yaml").read_text("utf-8"))
    return rows


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

    def relation(self, prop: str, subject: Kind | None = None) -> Relation:
        """Its wordings for a subject of that class; those of an unknown one are made from its label."""
        if prop not in self._relations:
            label = self._label(prop)
            out = Side([f"has {{}} as its {label}", f"has for its {label} {{}}"], [f"whose {label} is {{}}"])
            into = Side([f"is the {label} of {{}}"], names=[f"the {label} of {{}}"])
            self._relations[prop] = {"": Relation(label, out, into)}
        sorts = self._relations[prop]
        return sorts.get(subject.sort if subject else "", sorts[""])

    def _label(self, prop: str) -> str:
        """A property's label is told of the entity of the same number."""
        stated = self._graph.entities.get(prop) or self._graph.entities.get(prop.replace(DIRECT, ENTITY))
        label = stated.label if stated else ""
        return (label or short(prop).rsplit("/", 1)[-1].rsplit("#", 1)[-1]).replace("{", "(").replace("}", ")")
