"""How many answers a riddle has: as a query for any endpoint, and found in memory where the graph is known as a whole.

    SELECT DISTINCT ?answer WHERE {
      ?e0 wdt:P19 wd:Q3141 .   ?e0 wdt:P106 wd:Q2526255 .      what is said of the start, and its class
      ?e1 wdt:P57 ?e0 .        ?e1 wdt:P31 wd:Q11424 .         the walk, and the classes on its way
      ?e1 wdt:P495 ?answer .   ?answer wdt:P31 wd:Q6256 .
    } LIMIT 20

All hidden entities are variables; the named ones stand as they are.
"""

from collections.abc import Sequence, Set

from generators.search_riddles.knowledge import Knowledge, Step
from generators.search_riddles.sparql.queries import PREFIXES, term, values
from generators.search_riddles.vocabulary import Kind
from generators.search_riddles.walks import Walk
from generators.search_riddles.wording import Constraint

MOST_ANSWERS = 20


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
