"""The taxonomy and the walk through it: sizes, conditions, and evenness from the first task on."""

import re
from collections import Counter
from itertools import combinations, islice
from typing import Any

import pytest

from generators.text_to_sql import Params, TextToSQL
from generators.text_to_sql.cells import DIALECTS, TIERS, Cell, grammar_axes, grammar_cells, teacher_axes, teacher_cells
from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.load import bundled
from generators.text_to_sql.taxonomy import taxonomy
from gristmill.text.coverage import Coverage
from judges.sql_concepts import CONCEPTS

SPACE = taxonomy()
CELLS = list(islice(teacher_cells(TIERS, DIALECTS, 0.04, 0), 1800))


def spread(values: list[Any], of: int | None = None) -> int:
    counts = Counter(values)
    return max(counts.values()) - (min(counts.values()) if of is None or len(counts) == of else 0)


# --- the taxonomy ----------------------------------------------------------------------------------------------------


def test_its_sizes() -> None:
    assert len(SPACE.industries) == 60
    assert all(10 <= len(topics) <= 13 for topics in SPACE.industries.values())
    assert sum(map(len, SPACE.industries.values())) == 704
    assert (len(SPACE.tasks), sum(len(task.concepts) for task in SPACE.tasks.values())) == (12, 94)
    assert [
        (len(part.kinds), sum(map(len, part.kinds.values()))) for part in (SPACE.data_quality, SPACE.knowledge)
    ] == [
        (5, 12),
        (3, 9),
    ]
    assert [name for name, task in SPACE.tasks.items() if task.writes] == ["maintenance of the data"]


def test_every_topic_leads_to_a_schema_of_its_own() -> None:
    """No two topics are about the same things: of their four, at most one is shared, and few words are."""
    topics = [
        (f"{industry}: {topic}", frozenset(thing.strip() for thing in about.split(",")))
        for industry, of_industry in SPACE.industries.items()
        for topic, about in of_industry.items()
    ]
    assert all(len(things) == 4 for _, things in topics)
    words = {name: {w[:6] for thing in things for w in thing.split() if len(w) > 3} for name, things in topics}
    for (one, things), (other, more) in combinations(topics, 2):
        assert len(things & more) < 2, (one, other)
        assert len(words[one] & words[other]) <= 0.34 * len(words[one] | words[other]), (one, other)
    names = [name.split(": ")[1] for name, _ in topics]
    assert len(set(names)) == len(names), "a topic's name alone tells it from all others"


def test_nothing_is_said_twice() -> None:
    concepts = [concept for task in SPACE.tasks.values() for concept in task.concepts]
    facts = [fact for kind in SPACE.knowledge.kinds.values() for fact in kind.values()]
    flaws = [flaw.phrase for kind in SPACE.data_quality.kinds.values() for flaw in kind.values()]
    for said in (concepts, facts, flaws):
        assert len(set(said)) == len(said)
        assert not any(re.search(r"\b(TODO|etc)\b", text) for text in said)


# --- the teacher's walk ----------------------------------------------------------------------------------------------


def test_cells_keep_the_conditions_of_the_taxonomy() -> None:
    for cell in CELLS:
        concept, task = CONCEPTS[cell.concept], SPACE.tasks[cell.task_type]
        assert concept.tier == cell.tier and cell.dialect in concept.dialects
        assert SPACE.industries[cell.industry][cell.topic] == cell.about
        assert cell.task in task.concepts and task.asked_of(cell.tier) and task.writes == cell.writes
        assert not cell.writes or cell.concept in task.sql
        assert bool(cell.flaw) == bool(cell.data_quality) and bool(cell.fact) == bool(cell.knowledge)
        assert not cell.flaw or cell.flaw in SPACE.data_quality.kinds[cell.data_quality]
        assert not cell.fact or cell.fact in SPACE.knowledge.kinds[cell.knowledge]


@pytest.mark.parametrize("beginning", [7, 30, 90, 100, 417, 900, 1800])
def test_every_beginning_is_even(beginning: int) -> None:
    part = CELLS[:beginning]
    for axis, size in (("tier", 3), ("dialect", 3), ("industry", 60)):
        assert spread([getattr(cell, axis) for cell in part], size) <= 1, axis
    for axis, size in (("instruction", 5), ("register", 5), ("politeness", 4)):
        assert spread([getattr(cell.style, axis) for cell in part], size) <= 1, axis
    for tier in TIERS:
        everywhere = {name for name, c in CONCEPTS.items() if c.tier == tier and c.dialects == DIALECTS}
        assert spread([c.concept for c in part if c.concept in everywhere and not c.writes], len(everywhere)) <= 3
    for name, share in (("flaw", 0.25), ("fact", 0.2), ("writes", 0.04)):
        assert abs(sum(bool(getattr(cell, name)) for cell in part) - beginning * share) <= 1, name


def test_a_small_run_has_seen_every_concept() -> None:
    """An independent draw of as many tasks would leave about a third of the concepts out."""
    assert len({cell.concept for cell in CELLS[:120]}) >= 86
    assert {cell.concept for cell in CELLS[:180]} == set(CONCEPTS)


def test_a_run_of_1800_has_covered_the_space() -> None:
    coverage = Coverage(teacher_axes(TIERS, DIALECTS, 0.04))
    for cell in CELLS:
        coverage.add(cell.point())
    figures = coverage.figures()
    assert {axis: figure["missing"] for axis, figure in figures.items() if figure["missing"]} == {}
    assert (figures["topic"]["smallest"], figures["topic"]["largest"]) == (2, 3)
    assert figures["concept"]["smallest"] >= 10 and figures["concept"]["largest"] <= 30
    kinds = Counter(cell.task_type for cell in CELLS if not cell.writes)
    assert max(kinds.values()) < 2.5 * min(kinds.values()), "kinds that every tier has don't crowd out the others"
    assert len({(c.dialect, c.style) for c in CELLS[:900]}) == 300, "style and dialect are crossed"
    assert len({(c.industry, c.topic, c.concept) for c in CELLS}) >= 1770, "few come again before the others came"


def test_the_flawed_tasks_are_of_every_style_and_dialect() -> None:
    flawed = [cell for cell in CELLS if cell.flaw]
    for values in ([c.style.politeness for c in flawed], [c.dialect for c in flawed], [c.tier for c in flawed]):
        assert spread(values) < 0.25 * len(flawed), Counter(values)


def test_the_walk_is_a_function_of_the_seed_and_lazy() -> None:
    assert list(islice(teacher_cells(TIERS, DIALECTS, 0.04, 0), 300)) == CELLS[:300]
    assert list(islice(teacher_cells(TIERS, DIALECTS, 0.04, 1), 300)) != CELLS[:300]
    assert Cell.model_validate_json(CELLS[5].model_dump_json()) == CELLS[5]


@pytest.mark.parametrize("dialects", [["sqlite"], ["mysql", "postgres"]])
def test_dialects_and_tiers_can_be_chosen(dialects: Any) -> None:
    params = Params(mode="teacher", dialects=dialects, tiers=["advanced"], writes=0.0)
    generator = TextToSQL(params)
    cells = [cell for cell in islice(generator.tasks(), 200) if isinstance(cell, Cell)]
    assert {cell.dialect for cell in cells} == set(dialects) and {cell.tier for cell in cells} == {"advanced"}
    assert not any(cell.writes for cell in cells)
    offered = [n for n, c in CONCEPTS.items() if c.tier == "advanced" and set(c.dialects) & set(dialects)]
    axes = generator.coverage_axes()
    assert {cell.concept for cell in cells} == set(offered) == set(axes["concept"])
    assert {cell.task_type for cell in cells} == set(axes["task_type"]), "nothing that can't come is missing"


# --- the grammar's walk ----------------------------------------------------------------------------------------------


def test_the_grammar_s_walk_is_even_too() -> None:
    cells = list(islice(grammar_cells(bundled(), TIERS, DIALECTS, 7), 900))
    for beginning in (30, 117, 390, 900):
        part = cells[:beginning]
        for axis in ("tier", "dialect"):
            assert spread([getattr(cell, axis) for cell in part], 3) <= 1
        databases = [cell.database for cell in part]
        assert spread(databases, len(bundled())) <= 9
    assert {cell.concept for cell in cells} == set(GRAMMAR)
    assert all(CONCEPTS[cell.concept].tier == cell.tier for cell in cells)
    assert all(cell.dialect in CONCEPTS[cell.concept].dialects for cell in cells)
    assert len({(c.database, c.dialect, c.concept) for c in cells}) >= 880, "few come again before the others came"
    assert cells == list(islice(grammar_cells(bundled(), TIERS, DIALECTS, 7), 900))
    coverage = Coverage(grammar_axes(bundled(), TIERS, DIALECTS))
    for cell in cells:
        coverage.add(cell.point())
    assert not any(figure["missing"] for figure in coverage.figures().values())
    assert "topic" not in cells[0].point() and cells[0].point()["index"] == 0
    assert cells[0].point()["database"] == cells[0].database
