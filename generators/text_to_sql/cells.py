"""The tasks: points of a space of dialects, databases or topics, concepts and styles, in a walk that is always even.

    Cell(dialect="postgres", industry="hospital care", topic="ward occupancy", about="ward, bed, admission, transfer",
         tier="advanced", concept="gaps_and_islands", task_type="monitoring", task="cases without anybody in charge",
         data_quality="dates as text", flaw="two formats", style=Style("contextual", "formal", 2), index=417)

Tier, dialect and the axes of style are crossed: any beginning of the walk has them all equally often. What depends on
another axis is walked below it: a concept belongs to its tier and exists in the dialect, a topic belongs to its
industry, a kind of task is asked of its tiers. See `gristmill.walk`.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, get_args

from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.grammar import suited_concepts
from generators.text_to_sql.schema import Database
from generators.text_to_sql.taxonomy import DataQuality, Knowledge, taxonomy
from generators.text_to_sql.verbalise import Instruction, Politeness, Register, Style
from gristmill.errors import ConfigError
from gristmill.walk import crossed, paired, rounds, staggered, strata
from judges.sql_concepts import CONCEPTS, DIALECTS, TIERS, Tier
from judges.sql_world import Dialect
from schemas import Seed

__all__ = ["DIALECTS", "TIERS", "Cell", "grammar_axes", "grammar_cells", "teacher_axes", "teacher_cells"]

Axes = dict[str, list[Any]]

STYLE: tuple[tuple[Any, ...], ...] = tuple(get_args(axis) for axis in (Instruction, Register, Politeness))


class Cell(Seed):
    """One task. What a mode doesn't use is empty; `index` is the place in the walk.

    `flaw` is the concept of a data-quality challenge, `fact` that of a dependency on knowledge. A task that `writes`
    asks for a change of the data.
    """

    dialect: Dialect = "sqlite"
    industry: str
    database: str = ""
    topic: str = ""
    about: str = ""
    tier: Tier
    concept: str
    task_type: str = ""
    task: str = ""
    writes: bool = False
    data_quality: str = ""
    flaw: str = ""
    knowledge: str = ""
    fact: str = ""
    style: Style = Style()
    index: int = 0

    def point(self) -> dict[str, Any]:
        """The cell as metadata, without the axes that its mode doesn't use."""
        return {axis: v for axis, v in self.model_dump(mode="json").items() if v != "" and v is not False}


def grammar_cells(
    databases: Mapping[str, Database], tiers: Sequence[Tier], dialects: Sequence[Dialect], seed: int
) -> Iterator[Cell]:
    """Endless. Each tier and dialect goes through databases and concepts, so that both come evenly."""
    suited = {name: suited_concepts(database) for name, database in databases.items()}
    walks = {}
    for tier, dialect in ((tier, dialect) for tier in tiers for dialect in dialects):
        allowed = {name: [c for c in suited[name] if _is_of(c, tier, dialect)] for name in databases}
        if any(allowed.values()):
            walks[tier, dialect] = paired(allowed, _rng(seed, f"{tier} {dialect}"))
    if not walks:
        raise ConfigError(f"params.database: none of its queries would be of the tiers {', '.join(tiers)}.")
    points = crossed([tiers, dialects, *STYLE], _rng(seed, "grammar"))
    index = 0
    for tier, dialect, *style in points:
        if (tier, dialect) in walks:
            name, concept = next(walks[tier, dialect])
            yield Cell(
                dialect=dialect,
                industry=databases[name].industry,
                database=name,
                tier=tier,
                concept=concept,
                style=Style(*style),
                index=index,
            )
            index += 1


def _is_of(concept: str, tier: Tier, dialect: Dialect) -> bool:
    known = CONCEPTS[concept]
    return concept in GRAMMAR and known.tier == tier and dialect in known.dialects


def teacher_cells(tiers: Sequence[Tier], dialects: Sequence[Dialect], writes: float, seed: int) -> Iterator[Cell]:
    """Endless, over the taxonomy. The share `writes` of the tasks change the data."""
    space = taxonomy()
    walk = _Below(seed, tiers, dialects)
    industries = rounds(list(space.industries), _rng(seed, "industry"))
    topics = {name: rounds(list(topics.items()), _rng(seed, name)) for name, topics in space.industries.items()}
    flaws, facts = (_challenges(challenge, seed) for challenge in (space.data_quality, space.knowledge))
    writing = strata(writes, _rng(seed, "writes"))
    points = crossed([tiers, dialects, *STYLE], _rng(seed, "teacher"))
    for index, (tier, dialect, *style) in enumerate(points):
        industry = next(industries)
        topic, about = next(topics[industry])
        changes = next(writing)
        task_type, task = walk.task(tier, changes)
        data_quality, flaw = next(flaws)
        knowledge, fact = next(facts)
        yield Cell(
            dialect=dialect,
            industry=industry,
            topic=topic,
            about=about,
            tier=tier,
            concept=walk.concept(tier, dialect, changes),
            task_type=task_type,
            task=task,
            writes=changes,
            data_quality=data_quality,
            flaw=flaw,
            knowledge=knowledge,
            fact=fact,
            style=Style(*style),
            index=index,
        )


class _Below:
    """The walks below a tier: its SQL concepts in each dialect, and its kinds of task."""

    def __init__(self, seed: int, tiers: Sequence[Tier], dialects: Sequence[Dialect]) -> None:
        of_writing = [name for task in taxonomy().tasks.values() for name in task.sql]
        self._concepts = {
            (tier, changes): staggered(
                _concepts(tier, of_writing if changes else list(CONCEPTS), dialects), f"{seed}|{tier}|{changes}"
            )
            for tier in tiers
            for changes in (False, True)
        }
        self._tasks = {(tier, changes): _tasks(tier, changes, seed) for tier in tiers for changes in (False, True)}

    def concept(self, tier: Tier, dialect: Dialect, changes: bool) -> str:
        return next(self._concepts[tier, changes][dialect])

    def task(self, tier: Tier, changes: bool) -> tuple[str, str]:
        return next(self._tasks[tier, changes])


def _concepts(tier: Tier, names: Sequence[str], dialects: Sequence[Dialect]) -> dict[Dialect, list[str]]:
    return {d: [n for n in names if CONCEPTS[n].tier == tier and d in CONCEPTS[n].dialects] for d in dialects}


def grammar_axes(databases: Mapping[str, Database], tiers: Sequence[Tier], dialects: Sequence[Dialect]) -> Axes:
    """Every value that each axis of the grammar's cells can take, for the table of coverage."""
    shared = _shared_axes(tiers, dialects)
    return {**shared, "database": list(databases), "concept": [name for name in shared["concept"] if name in GRAMMAR]}


def teacher_axes(tiers: Sequence[Tier], dialects: Sequence[Dialect], writes: float) -> Axes:
    """The same for the teacher's cells."""
    space = taxonomy()
    offered = {name: task for name, task in space.tasks.items() if writes or not task.writes}
    tasks = {name: task for name, task in offered.items() if any(task.asked_of(tier) for tier in tiers)}
    return {
        **_shared_axes(tiers, dialects),
        "industry": list(space.industries),
        "topic": [topic for topics in space.industries.values() for topic in topics],
        "task_type": list(tasks),
        "task": [concept for task in tasks.values() for concept in task.concepts],
        "data_quality": list(space.data_quality.kinds),
        "flaw": [flaw for kind in space.data_quality.kinds.values() for flaw in kind],
        "knowledge": list(space.knowledge.kinds),
        "fact": [fact for kind in space.knowledge.kinds.values() for fact in kind],
    }


def _shared_axes(tiers: Sequence[Tier], dialects: Sequence[Dialect]) -> Axes:
    style = zip(("style.instruction", "style.register", "style.politeness"), map(list, STYLE), strict=True)
    concepts = [n for n, c in CONCEPTS.items() if c.tier in tiers and set(c.dialects) & set(dialects)]
    return {"dialect": list(dialects), "tier": list(tiers), "concept": concepts, **dict(style)}


def _tasks(tier: Tier, changes: bool, seed: int) -> Iterator[tuple[str, str]]:
    """Kinds with what they ask for. A tier's own kinds come more often than those that the lower tiers have too."""
    asked = {name: t for name, t in taxonomy().tasks.items() if t.writes == changes and t.asked_of(tier)}
    concepts = {name: rounds(task.concepts, _rng(seed, f"{tier} {name}")) for name, task in asked.items()}
    times = {name: TIERS.index(tier) + 1 if task.lowest == tier else 1 for name, task in asked.items()}
    kinds = rounds([name for name in asked for _ in range(times[name])], _rng(seed, f"{tier} {changes} task"))
    return ((kind, next(concepts[kind])) for kind in kinds)


def _challenges(challenge: DataQuality | Knowledge, seed: int) -> Iterator[tuple[str, str]]:
    """The challenge and its concept where one is due, else two empty names."""
    kinds: dict[str, Iterator[str]] = {n: rounds(list(k), _rng(seed, n)) for n, k in challenge.kinds.items()}
    names = rounds(list(kinds), _rng(seed, " ".join(kinds)))
    due = strata(challenge.share, _rng(seed, f"{len(kinds)} due"))
    for hit in due:
        name = next(names) if hit else ""
        yield name, next(kinds[name]) if hit else ""


def _rng(seed: int, axis: str) -> Random:
    return Random(f"{seed}|{axis}")
