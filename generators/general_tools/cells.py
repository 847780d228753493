"""The tasks: kinds of scenario, sets of tools, goals, styles and people, in a walk that is even at every step.

    Cell(kind="parallel", toolbox="trains", goal=(5, 2, 0), style="practical", persona="Ana ... is a 43-year-old ...")

Kinds and sets are crossed. Each pair of them goes through its goals, every wording once before one comes again with
another row. See `gristmill.walk`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from generators.general_tools.scenario import Kind
from generators.general_tools.toolboxes import Toolbox
from gristmill.personas import Persona
from gristmill.walk import crossed, paired, rounds
from schemas import Seed

GoalAt = tuple[int, int, int]
"""A goal of a set, one of its rows, one of its wordings."""


class Cell(Seed):
    """One task. `goal` is None where the scenario is to be written; `offered` names the tools where the set has more
    than go into one conversation."""

    kind: Kind
    toolbox: str
    style: str
    persona: str
    goal: GoalAt | None = None
    offered: list[str] = []
    index: int = 0


def cells(
    boxes: Mapping[str, Toolbox], kinds: Sequence[Kind], styles: Sequence[str], people: Iterable[Persona],
    offer: int, written: bool, seed: int,
) -> Iterator[Cell]:  # fmt: skip
    """Endless where people are; nothing where no set has a goal of these kinds."""
    rng = Random(f"general_tools|{seed}")
    ways = rounds(styles, Random(f"styles|{seed}"))
    goals = {
        (kind, name): _goals(kind, box, written, Random(f"{kind}|{name}|{seed}"))
        for kind in kinds
        for name, box in boxes.items()
        if has_goals(kind, box, written)
    }
    axes: list[list[Any]] = [[*kinds], [*boxes]]
    pairs = (pair for pair in crossed(axes, rng) if pair in goals) if goals else iter(())
    for index, ((kind, name), person) in enumerate(zip(pairs, people, strict=False)):
        goal = next(goals[kind, name])
        offered = _offered(boxes[name], goal, offer, rng)
        yield Cell(
            kind=kind, toolbox=name, style=next(ways), persona=person.text(), goal=goal, offered=offered, index=index
        )


def has_goals(kind: Kind, box: Toolbox, written: bool) -> bool:
    """Whether there are scenarios of the kind: where they are written, or the set has no goals, there always are."""
    known = written or not box.about.goals or any(goal.kind == kind for goal in box.about.goals)
    return known and bool(box.tools)


def _goals(kind: Kind, box: Toolbox, written: bool, rng: Random) -> Iterator[GoalAt | None]:
    if written or not box.about.goals:
        return iter(lambda: None, 0)
    rows = {
        (number, opening): range(len(goal.rows))
        for number, goal in enumerate(box.about.goals)
        if goal.kind == kind
        for opening in range(len(goal.openings))
    }
    return ((number, row, opening) for (number, opening), row in paired(rows, rng))


def _offered(box: Toolbox, goal: GoalAt | None, offer: int, rng: Random) -> list[str]:
    """The names of the tools that the goal needs and of others, up to `offer`; [] where that is all of them."""
    names = [tool.function.name for tool in box.tools]
    if len(names) <= offer:
        return []
    needed = {name for name, _ in box.about.goals[goal[0]].calls} if goal else set()
    others = [name for name in names if name not in needed]
    chosen = {*needed, *rng.sample(others, max(0, min(len(others), offer - len(needed))))}
    return [name for name in names if name in chosen]
