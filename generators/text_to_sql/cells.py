"""The tasks: points of a space of databases, concepts and styles, walked so that every beginning of the walk is even.

Each axis is gone through in rounds, in a new order each time: at any moment no value is more than one round ahead of
another, which independent draws would not give. Axes that depend on each other are walked together: a concept belongs
to its tier and must suit the database, a topic belongs to its industry.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Annotated, TypeVar, get_args

from pydantic import Field

from generators.text_to_sql.grammar import CONCEPTS, Tier, suited_concepts, tier_of
from generators.text_to_sql.schema import Database
from generators.text_to_sql.verbalise import Instruction, Politeness, Register, Style
from gristmill.config import load_config
from gristmill.errors import ConfigError
from schemas import Config, Seed

T = TypeVar("T")
U = TypeVar("U")
TIERS: tuple[Tier, ...] = get_args(Tier)


class Cell(Seed):
    """One task. What a mode doesn't use is empty; `index` is the place in the walk."""

    industry: str
    database: str = ""
    topic: str = ""
    tier: Tier
    concept: str
    task: str = ""
    data_quality: str = ""
    knowledge: str = ""
    style: Style = Style()
    index: int = 0


class Task(Config):
    """A kind of task, asked of tiers from `lowest` on."""

    lowest: Tier
    concepts: Annotated[list[str], Field(min_length=1)]


class Challenge(Config):
    """Something that makes `share` of the tasks harder."""

    share: Annotated[float, Field(ge=0, le=1)]
    kinds: dict[str, list[str]]


class Taxonomy(Config):
    """taxonomy.yaml, the space of the teacher's tasks."""

    industries: dict[str, list[str]]
    tiers: dict[Tier, list[str]]
    tasks: dict[str, Task]
    data_quality: Challenge
    knowledge: Challenge


def grammar_cells(databases: Mapping[str, Database], tiers: Sequence[Tier], seed: int) -> Iterator[Cell]:
    """Endless. Each tier goes diagonally through databases and concepts, so that both come evenly."""
    suited = {name: set(suited_concepts(database)) for name, database in databases.items()}
    concepts = {tier: [c for c in CONCEPTS if tier_of(c) == tier] for tier in tiers}
    pairs = {
        tier: _diagonal(
            [(name, c) for name in databases for c in concepts[tier] if c in suited[name]], _rng(seed, tier)
        )
        for tier in tiers
        if any(c in suited[name] for name in databases for c in concepts[tier])
    }
    if not pairs:
        raise ConfigError(f"params.database: none of its queries would be of the tiers {', '.join(tiers)}.")
    styles = _styles(seed)
    for index, tier in enumerate(_rounds(list(pairs), _rng(seed, "tier"))):
        name, concept = next(pairs[tier])
        yield Cell(
            industry=databases[name].industry,
            database=name,
            tier=tier,
            concept=concept,
            style=next(styles),
            index=index,
        )


def teacher_cells(path: Path, tiers: Sequence[Tier], seed: int) -> Iterator[Cell]:
    """Endless, over the taxonomy in `path`."""
    taxonomy = load_config(path, [], Taxonomy)
    industries = _rounds(list(taxonomy.industries), _rng(seed, "industry"))
    topics = {name: _rounds(topics, _rng(seed, name)) for name, topics in taxonomy.industries.items()}
    concepts = {tier: _rounds(taxonomy.tiers[tier], _rng(seed, tier)) for tier in tiers}
    tasks = {tier: _tasks(taxonomy, tier, seed) for tier in tiers}
    quality, knowledge = (_challenges(c, seed) for c in (taxonomy.data_quality, taxonomy.knowledge))
    styles = _styles(seed)
    for index, tier in enumerate(_rounds(tiers, _rng(seed, "tier"))):
        industry = next(industries)
        yield Cell(
            industry=industry,
            topic=next(topics[industry]),
            tier=tier,
            concept=next(concepts[tier]),
            task=next(tasks[tier]),
            data_quality=next(quality),
            knowledge=next(knowledge),
            style=next(styles),
            index=index,
        )


def _rng(seed: int, axis: str) -> Random:
    return Random(f"{seed}|{axis}")


def _rounds(options: Sequence[T], rng: Random) -> Iterator[T]:
    """Endless: every option once per round, each round in a new order."""
    while True:
        yield from rng.sample(options, len(options))


def _diagonal(pairs: Sequence[tuple[T, U]], rng: Random) -> Iterator[tuple[T, U]]:
    """Endless: every pair once per round, and within it each left side with ever another right side, in turn."""
    allowed = set(pairs)
    lefts, rights = (list(dict.fromkeys(side)) for side in zip(*pairs, strict=True))
    while True:
        rng.shuffle(lefts)
        rng.shuffle(rights)
        for step in range(len(rights)):
            for place, left in enumerate(lefts):
                pair = (left, rights[(place + step) % len(rights)])
                if pair in allowed:
                    yield pair


def _styles(seed: int) -> Iterator[Style]:
    axes = [_rounds(get_args(axis), _rng(seed, str(axis))) for axis in (Instruction, Register, Politeness)]
    return (Style(*values) for values in zip(*axes, strict=True))


def _tasks(taxonomy: Taxonomy, tier: Tier, seed: int) -> Iterator[str]:
    kinds = {
        name: _rounds(task.concepts, _rng(seed, f"{tier}{name}"))
        for name, task in taxonomy.tasks.items()
        if TIERS.index(task.lowest) <= TIERS.index(tier)
    }
    return (f"{kind}: {next(kinds[kind])}" for kind in _rounds(list(kinds), _rng(seed, f"{tier} task")))


def _challenges(challenge: Challenge, seed: int) -> Iterator[str]:
    kinds = {name: _rounds(concepts, _rng(seed, name)) for name, concepts in challenge.kinds.items()}
    names = _rounds(list(kinds), _rng(seed, "challenge"))
    for index in count():
        due = int((index + 1) * challenge.share) > int(index * challenge.share)
        if due:
            name = next(names)
            yield f"{name}: {next(kinds[name])}"
        else:
            yield ""
