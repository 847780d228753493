"""The teacher mode over its own walk, with the grammar in the teacher's place: right answers of many concepts pass."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from generators.text_to_sql.cells import TIERS, Cell, teacher_cells
from generators.text_to_sql.context import choose_context
from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.grammar import Unsuited, query_of, sample_query, suited_concepts
from generators.text_to_sql.load import bundled
from generators.text_to_sql.verbalise import Style, verbalise
from gristmill.testing import ScriptedModel, run_scripted
from judges.sql_concepts import CONCEPTS
from judges.sql_world import Dialect, SQLWorld, statements
from schemas import assistant

WIDE = {"least": 0, "most": 400}
NOT_ITS_FAULT = {"world/unlinked", "question/no_rows", "question/trivial_result", "question/insensitive"}
"""What a draw of the grammar may meet by chance: it would draw again, a teacher's task is lost."""


@dataclass(frozen=True)
class Lesson:
    """What the teacher would say in one task."""

    cell: Cell
    world: SQLWorld
    question: str
    query: str


def lessons(dialect: Dialect, count: int) -> list[Lesson]:
    """For cells of the walk whose concept the grammar has and whose data isn't to be flawed."""
    found: list[Lesson] = []
    for cell in teacher_cells(TIERS, [dialect], 0.0, 5):
        suited = [db for db in bundled().values() if cell.concept in suited_concepts(db)]
        if cell.concept not in GRAMMAR or cell.flaw or not suited:
            continue
        rng = Random(cell.index)
        try:
            drawn = sample_query(rng.choice(suited), cell.concept, rng)
        except Unsuited:
            continue
        query = query_of(drawn.plan, drawn.database, dialect).sql
        # a technical register may call columns by their names, which a teacher may not
        style = Style(cell.style.instruction, "conversational", cell.style.politeness)
        question = f"{verbalise(drawn, style, rng).text} This is for file {cell.index}."
        found.append(Lesson(cell, choose_context(drawn, rng).world(dialect), question, query))
        if len(found) == count:
            break
    return found


def teacher(known: list[Lesson]) -> ScriptedModel:
    """Knows its lessons by the topic, by database and concept, or by the question in the prompt."""

    def script(role: str, request: Any) -> Any:
        text = request["messages"][0]["content"]
        if role == "solver":
            query = next(lesson.query for lesson in known if lesson.question in text)
            return assistant(f"```sql\n{query}\n```", "I go by the keys.")
        if "ddl" in request["response_format"]["json_schema"]["schema"]["properties"]:
            world = next(lesson.world for lesson in known if f"- Topic: {lesson.cell.topic}\n" in text)
            written = statements(world.context, world.dialect)
            return {
                "ddl": [statement for statement in written if statement.startswith("CREATE")],
                "inserts": [statement for statement in written if statement.startswith("INSERT")],
                "distractor_tables": world.distractor_tables,
                "distractor_columns": world.distractor_columns,
            }
        lesson = next(one for one in known if all(part in text for part in _marks(one)))
        return {"question": lesson.question, "query": lesson.query}

    return ScriptedModel(script)


def _marks(lesson: Lesson) -> tuple[str, ...]:
    unneeded = ", ".join([*lesson.world.distractor_tables, *lesson.world.distractor_columns])
    return lesson.world.context, unneeded, f"has to use {CONCEPTS[lesson.cell.concept].phrase}, because"


@pytest.mark.parametrize(
    ("dialect", "count"),
    [
        ("sqlite", 60),
        pytest.param("postgres", 30, marks=pytest.mark.postgres),
        pytest.param("mysql", 30, marks=pytest.mark.mysql),
    ],
)
def test_right_answers_pass(dialect: Dialect, count: int, tmp_path: Path) -> None:
    known = lessons(dialect, count)
    (tmp_path / "cells.jsonl").write_text("\n".join(lesson.cell.model_dump_json() for lesson in known))
    served = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
    config = {
        "generator": "text_to_sql",
        "seeds": str(tmp_path / "cells.jsonl"),
        "tasks": count,
        "models": dict.fromkeys(("default", "writer", "solver"), served),
        "params": {
            "mode": "teacher",
            "sizes": dict.fromkeys(("core_tables", "distractor_tables", "distractor_columns", "rows"), WIDE),
        },
    }
    summary = run_scripted(config, tmp_path / "run", teacher(known))
    assert summary["failed"] == 0 and set(summary["by_reason"]) <= NOT_ITS_FAULT, summary["by_reason"]
    assert summary["accepted"] >= 0.8 * count
    rows = pq.read_table(tmp_path / "run/records", columns=["metadata"]).to_pylist()
    assert len(rows) == summary["accepted"]
    assert len({lesson.cell.concept for lesson in known}) >= 0.7 * count
