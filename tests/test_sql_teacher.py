"""Teacher mode: what the solver sees, who wins the vote, and every way a task can end."""

import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from generators.text_to_sql import TextToSQL
from generators.text_to_sql.taxonomy import taxonomy
from gristmill.errors import ConfigError
from gristmill.prompts import PromptFolder
from gristmill.testing import ScriptedModel, check_generator, run_scripted
from gristmill.testing.scripted import answer_by_default
from schemas import assistant
from tests.sql_teacher_world import (
    CELL,
    QUESTION,
    RIGHT,
    ROWS,
    SORTED,
    WORLD,
    WRONG,
    teacher_model,
    with_ddl,
    with_rows,
    without,
)

SERVED = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
ALONE = {**SERVED, "max_in_flight": 1}


def records(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "records").to_pylist()
    return [{**row, "metadata": orjson.loads(row["metadata"])} for row in rows]


def config(folder: Path, tasks: int = 1, cell: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """A run over seeds that all are CELL, changed by `cell`."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = folder / "cells.jsonl"
    seeds.write_text("\n".join(json.dumps({**CELL, **(cell or {}), "index": index}) for index in range(tasks)))
    return {
        "generator": "text_to_sql",
        "seeds": str(seeds),
        "tasks": tasks,
        "models": dict.fromkeys(("default", "writer", "solver"), SERVED),
        "judges": [{"name": "sql_execution"}],
        "params": {"mode": "teacher", **params},
    }


def ended(folder: Path, model: ScriptedModel, cell: dict[str, Any] | None = None, **params: Any) -> dict[str, int]:
    summary = run_scripted(config(folder, cell=cell, **params), folder / "run", model)
    assert summary["failed"] == 0
    return dict(summary["by_reason"]) or {"accepted": summary["accepted"]}


def prompts(model: ScriptedModel) -> list[tuple[str, str]]:
    """Role and first message of every call."""
    calls: list[tuple[str, Any]] = [*model.calls]
    return [(role, request["messages"][0]["content"]) for role, request in calls]


# --- a good teacher --------------------------------------------------------------------------------------------------


def test_the_contract(tmp_path: Path) -> None:
    summary = check_generator(config(tmp_path, 12), tmp_path, teacher_model(RIGHT))
    assert summary["accepted"] == 12, summary["by_reason"]


@pytest.mark.parametrize(
    "dialect",
    [
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mysql", marks=pytest.mark.mysql),
    ],
)
def test_a_record_in_each_dialect(dialect: str, tmp_path: Path) -> None:
    model = teacher_model(RIGHT)
    run_scripted(config(tmp_path, cell={"dialect": dialect}), tmp_path / "run", model)
    (record,) = records(tmp_path / "run")
    metadata, asked = record["metadata"], record["messages"][0]
    name = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MySQL"}[dialect]
    assert name in asked["content"].split("\n")[0]
    assert metadata["sql"]["dialect"] == dialect and metadata["sql"]["row_count"] == 3
    assert metadata["cell"]["concept"] in metadata["concepts"] and "group_aggregate" in metadata["concepts"]
    assert metadata["challenge"] == metadata["knowledge"] == "none"
    assert [verdict["passed"] for verdict in record["verdicts"]] == [True]
    for role, told in prompts(model):
        others = {"SQLite", "PostgreSQL", "MySQL"} - {name}
        assert role == "solver" or not any(other in told for other in others), "a prompt speaks of one dialect alone"


def test_the_solver_sees_exactly_what_the_record_shows(tmp_path: Path) -> None:
    model = teacher_model(RIGHT)
    run_scripted(config(tmp_path), tmp_path / "run", model)
    (record,) = records(tmp_path / "run")
    asked, answered = record["messages"]
    (request,) = [request for role, request in model.calls if role == "solver"]
    assert request["messages"] == [{"role": "user", "content": asked["content"]}]
    assert "response_format" not in request
    assert answered["reasoning_content"] == f"I sum up.\n{RIGHT}" and record["reasoning"] == "on"
    for hidden in (CELL["topic"], "distractor", "visit.plant_id", "join_group"):
        assert hidden not in asked["content"]
    for shown in (*WORLD["ddl"], *WORLD["inserts"], QUESTION):
        assert shown in asked["content"], "braces in values stay as they are"
    sql = record["metadata"]["sql"]
    assert sql["distractor_tables"] == ["visit"] and sql["distractor_columns"] == WORLD["distractor_columns"]


def test_the_writer_is_told_every_axis_of_the_cell(tmp_path: Path) -> None:
    cell = {
        "data_quality": "dates as text", "flaw": "two formats", "knowledge": "calendar", "fact": "fiscal year",
        "style": {"instruction": "contextual", "register": "formal", "politeness": 3}, "about": "work centre, part",
    }  # fmt: skip
    model = teacher_model(RIGHT)
    assert ended(tmp_path, model, cell) == {"world/clean_data": 1}
    ((_, first),) = prompts(model)
    flaw = taxonomy().data_quality.kinds["dates as text"]["two formats"].phrase
    fact = taxonomy().knowledge.kinds["calendar"]["fiscal year"]
    phrase = "rows of one table summed up by an attribute of a table joined to it"
    for told in (flaw, fact, phrase, CELL["industry"], CELL["topic"], cell["about"], CELL["task_type"], CELL["task"]):
        assert str(told) in first
    second = PromptFolder(TextToSQL.folder() / "prompts")["question"]
    assert {"cell", "flaw", "fact", "concept", "context", "unneeded", "engine"} == second.variables


def test_flawed_data_and_knowledge_stand_in_the_metadata(tmp_path: Path) -> None:
    rows = [row.replace("'done'", "'DONE'") if row.startswith("(1") else row for row in ROWS["batch"]]
    cell = {"data_quality": "inconsistent text", "flaw": "letter case", "knowledge": "codes", "fact": "numeric states"}
    model = teacher_model(RIGHT, world=with_rows("batch", rows))
    run_scripted(config(tmp_path, cell=cell), tmp_path / "run", model)
    (record,) = records(tmp_path / "run")
    assert record["metadata"]["challenge"] == "inconsistent text: letter case"
    assert record["metadata"]["knowledge"] == "codes: numeric states"


def test_a_statement_that_writes_is_proved_by_what_it_leaves(tmp_path: Path) -> None:
    statement = "UPDATE batch SET pieces = pieces + 1 WHERE made_on >= '2024-02-01'"
    cell = {"writes": True, "concept": "filter_date", "tier": "basic", "task_type": "maintenance of the data"}
    model = teacher_model(statement, asked={"query": statement})
    run_scripted(config(tmp_path, cell=cell), tmp_path / "run", model)
    (record,) = records(tmp_path / "run")
    sql = record["metadata"]["sql"]
    assert sql["writes"] is True and record["metadata"]["cell"]["writes"] is True
    assert sql["row_count"] == 4, "two rows gone, two rows new"
    reading = {**cell, "writes": False}
    assert ended(tmp_path / "reading", model, reading) == {"question/not_read_only": 1}


# --- the vote --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "writer", "votes"),
    [
        ([RIGHT], RIGHT, (1, 1, 1, True)),
        ([WRONG, RIGHT, SORTED, "SELECT nonsense", RIGHT], RIGHT, (5, 4, 3, True)),
        ([RIGHT, RIGHT, RIGHT], WRONG, (3, 3, 3, False)),
        ([assistant(" "), RIGHT, WRONG], RIGHT, (3, 2, 1, True)),
    ],
)
def test_the_result_that_leads_wins(answers: list[Any], writer: str, votes: tuple[Any, ...], tmp_path: Path) -> None:
    model = teacher_model(*answers, asked={"query": writer})
    run_scripted(config(tmp_path, candidates=len(answers)), tmp_path / "run", model)
    (record,) = records(tmp_path / "run")
    assert record["messages"][1]["content"] == f"```sql\n{RIGHT}\n```"
    names = ("candidates", "proved", "agreeing", "writer_agrees")
    assert record["metadata"]["votes"] == dict(zip(names, votes, strict=True))


@pytest.mark.parametrize(
    ("answers", "writer"),
    [([WRONG], RIGHT), ([RIGHT, WRONG, WRONG], RIGHT), ([RIGHT, WRONG], RIGHT.replace("SUM", "MIN"))],
)
def test_a_tie_is_no_agreement(answers: list[str], writer: str, tmp_path: Path) -> None:
    model = teacher_model(*answers, asked={"query": writer})
    assert ended(tmp_path, model, candidates=len(answers)) == {"vote/no_agreement": 1}


FEWER = {
    "ddl": [
        ddl.split(", FOREIGN KEY (product_id)")[0] + ")" if "batch_id" in ddl else ddl
        for ddl in without("product")["ddl"]
    ]
}
"""Batches that point to no product."""


# --- every reject ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "world"),
    [
        ("unparsed", with_ddl("plant", lambda ddl: ddl + ")")),
        ("unexpected_statement", with_ddl("visit", lambda ddl: "DROP TABLE plant")),
        ("unexpected_statement", with_ddl("visit", lambda ddl: ddl + "; DROP TABLE plant")),
        ("unexpected_statement", with_ddl("visit", lambda ddl: "CREATE VIEW visit AS SELECT 1")),
        ("unknown_table", without("visit") | {"inserts": WORLD["inserts"]}),
        ("row_shape", with_rows("visit", ["(1, 2)"])),
        ("unknown_distractor", {"distractor_columns": [*WORLD["distractor_columns"], "batch.imagined"]}),
        ("unknown_distractor", {"distractor_tables": ["nowhere"]}),
        ("core_tables", without("product")),
        ("distractor_tables", {"distractor_tables": []}),
        ("distractor_columns", {"distractor_columns": WORLD["distractor_columns"][1:]}),
        ("rows", with_rows("visit", ROWS["visit"][:4])),
        ("rows", with_rows("visit", [f"({number}, 1, 'Ana')" for number in range(11)])),
        ("no_key", with_ddl("visit", lambda ddl: ddl.replace(" PRIMARY KEY", ""))),
        ("unlinked", with_ddl("visit", lambda ddl: ddl.split(", FOREIGN")[0] + ")")),
        ("context", with_rows("visit", [row.replace(", 2,", ", 77,") for row in ROWS["visit"]])),
    ],
)
def test_every_reject_of_the_world(reason: str, world: dict[str, Any], tmp_path: Path) -> None:
    model = teacher_model(RIGHT, world=world)
    assert ended(tmp_path, model) == {f"world/{reason}": 1}
    assert [role for role, _ in model.calls] == ["writer"], "nothing more is paid"


def test_the_sizes_can_be_moved(tmp_path: Path) -> None:
    sizes = {"core_tables": {"least": 2, "most": 2}, "rows": {"least": 1, "most": 5}}
    assert ended(tmp_path, teacher_model(RIGHT, world=without("product") | FEWER), sizes=sizes) == {"accepted": 1}
    with pytest.raises(ConfigError, match="least 3 is more than most 2"):
        ended(tmp_path / "wrong", teacher_model(RIGHT), sizes={"rows": {"least": 3, "most": 2}})


@pytest.mark.parametrize(
    ("reason", "asked"),
    [
        ("speaks_sql", {"question": "Please SELECT the sum of the pieces for each of the cities."}),
        ("relative_to_now", {"question": "How many pieces did each city make up to today?"}),
        ("names_schema", {"question": "Show the city and the pieces for each plant_id, please."}),
        ("concept_missing", {"query": "SELECT SUM(pieces) AS pieces FROM batch"}),
        ("distractor_used", {"query": RIGHT + ", plant.phone"}),
        ("unknown_column", {"query": RIGHT.replace("pieces)", "quantity)")}),
        ("no_rows", {"query": RIGHT + " HAVING SUM(batch.pieces) < 0"}),
        ("depends_on_now", {"query": RIGHT.replace(" GROUP", " WHERE batch.made_on < DATE('now') GROUP")}),
        ("unparsed", {"query": RIGHT.replace("SUM(", "SUM((")}),
        ("not_a_query", {"query": "SELEC city"}),
        ("several_statements", {"query": f"{RIGHT}; {RIGHT}"}),
    ],
)
def test_every_reject_of_the_question(reason: str, asked: dict[str, Any], tmp_path: Path) -> None:
    model = teacher_model(RIGHT, asked=asked)
    assert ended(tmp_path, model) == {f"question/{reason}": 1}
    assert [role for role, _ in model.calls] == ["writer", "writer"], "the solver is not paid"


BARE = RIGHT.replace(" AS pieces", " AS pieces, batch.note")
"""A column beside the aggregate that isn't grouped: which row it comes from is left to chance."""
ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
CONSTANT = f"SELECT 5 AS five, (SELECT COUNT(*) * 0 FROM ({RIGHT}) AS t) AS zero"
ANSWERS: list[tuple[str, list[Any]]] = [
    ("execution/no_query", [assistant("The answer is 210 pieces.")]),
    ("execution/several_queries", [assistant(f"```sql\n{RIGHT}\n```\n```sql\n{WRONG}\n```")]),
    ("execution/several_statements", [f"{RIGHT}; {RIGHT}"]),
    ("execution/not_a_query", ["SELEC city"]),
    ("execution/unparsed", [RIGHT.replace("SUM(", "SUM((")]),
    ("execution/not_read_only", ["DROP TABLE batch"]),
    ("execution/forbidden", [RIGHT.replace("SUM(batch.pieces)", "LOAD_EXTENSION('x')")]),
    ("execution/random", [RIGHT + " ORDER BY RANDOM()"]),
    ("execution/depends_on_now", [RIGHT.replace("GROUP", "WHERE batch.made_on < DATE('now') GROUP")]),
    ("execution/limit_without_order", [RIGHT + " LIMIT 2"]),
    ("execution/concept_missing", ["SELECT city FROM plant"]),
    ("execution/unknown_table", [RIGHT.replace("batch", "nowhere")] * 2 + [RIGHT + ", plant.area"]),
    ("execution/unknown_column", [RIGHT.replace("pieces)", "quantity)")]),
    ("execution/sql_error", [RIGHT.replace("batch.pieces)", "TOTALS(batch.pieces))")]),
    ("execution/timeout", [f"{ENDLESS}{RIGHT.replace('batch JOIN', 'n CROSS JOIN batch JOIN')}"]),
    ("execution/too_many_rows", [RIGHT]),
    ("execution/too_large", [RIGHT.replace(" AS pieces", " AS pieces, HEX(ZEROBLOB(150000)) AS filling")]),
    ("execution/no_rows", [RIGHT + " HAVING SUM(batch.pieces) < 0"]),
    ("execution/trivial_result", [RIGHT.replace("plant.city, SUM(", "0 * SUM(") + " HAVING plant.city = 'Wels'"]),
    ("execution/unstable", [BARE]),
    ("execution/ties", [RIGHT.replace("GROUP", "WHERE batch.pieces > 15 GROUP") + " ORDER BY 1 = 1 LIMIT 1"]),
    ("execution/distractor_used", [RIGHT + ", plant.area"]),
    ("execution/unused_table", [f"WITH idle AS (SELECT label FROM product) {RIGHT}"]),
    ("execution/insensitive", [CONSTANT]),
    ("llm/no_answer", [assistant("   ")]),
    ("llm/no_answer", [assistant("   "), assistant("   "), "SELECT nonsense"]),
]


@pytest.mark.parametrize(("reason", "answers"), ANSWERS, ids=[reason for reason, _ in ANSWERS])
def test_every_reject_of_the_answers(reason: str, answers: list[Any], tmp_path: Path) -> None:
    model = teacher_model(*answers, asked={"query": RIGHT + " HAVING SUM(batch.pieces) > 50"})
    limits = {"seconds": 0.3, "rows": 2 if reason.endswith("too_many_rows") else 100}
    assert ended(tmp_path, model, candidates=len(answers), limits=limits) == {reason: 1}


@pytest.mark.parametrize(
    "dialect",
    [pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("mysql", marks=pytest.mark.mysql)],
)
def test_a_server_lives_through_what_a_solver_sends(dialect: str, tmp_path: Path) -> None:
    """Five tasks share it: four bad answers are rejected for what they are, and the fifth is still proved."""
    big = RIGHT.replace(" AS pieces", " AS pieces, REPEAT('x', 1000000000) AS filling")
    file = {"postgres": "PG_READ_FILE('/etc/passwd')", "mysql": "LOAD_FILE('/etc/passwd')"}[dialect]
    answers = [
        big,
        RIGHT.replace("SUM(batch.pieces)", file),
        RIGHT.replace("batch.pieces)", "TOTALS(batch.pieces))"),
        "DROP TABLE batch",
        RIGHT,
    ]
    run = config(tmp_path, 5, {"dialect": dialect})
    summary = run_scripted(
        {**run, "models": {**run["models"], "solver": ALONE}}, tmp_path / "run", teacher_model(*answers)
    )
    reasons = {"execution/forbidden": 1, "execution/not_read_only": 1, "execution/sql_error": 1}
    assert summary["accepted"] == 1
    assert {**reasons, "execution/out_of_memory": 1} == summary["by_reason"]


def test_a_database_of_ones_own_is_for_the_grammar(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the teacher invents its own"):
        ended(tmp_path, teacher_model(RIGHT), database="my.sqlite")


def test_a_statement_without_effect_changes_nothing(tmp_path: Path) -> None:
    cell = {"writes": True, "concept": "filter_date", "tier": "basic"}
    changed = "UPDATE batch SET pieces = pieces + 1 WHERE made_on >= '2024-02-01'"
    model = teacher_model(changed.replace("+ 1", "+ 0"), asked={"query": changed})
    assert ended(tmp_path, model, cell) == {"execution/no_effect": 1}


FLAWS = [(kind, flaw) for kind, flaws in taxonomy().data_quality.kinds.items() for flaw in flaws]
SHOWN: dict[str, list[str]] = {
    "currency sign": ["'€ 12.50'", "'$3'", "'14.00 €'", "'£ 1,200'", "'9'"],
    "decimal comma": ["'12,5'", "'3,25'", "'0,5'", "'-1,75'", "'9'"],
    "thousands separator": ["'1,250'", "'14 300'", "'1,000,000.50'", "'9'", "'10'"],
    "day first": ["'31.12.2023'", "'1.2.2024'", "'03/04/2024'", "'28.02.2024'", "'9'"],
    "two formats": ["'2023-12-31'", "'31/12/2023'", "'2024-01-02'", "'02.01.2024'", "'9'"],
    "month names": ["'Dec 31, 2023'", "'1 January 2024'", "'Feb 2, 2024'", "'3 Mar 2024'", "'9'"],
    "letter case": ["'open'", "'OPEN'", "'done'", "'late'", "'9'"],
    "stray spaces": ["'north'", "' north'", "'south'", "'east'", "'9'"],
    "flag in JSON": [f"'{flag}'" for flag in ('{"ok":true}', '{"ok": false, "a": 1}', '{"ok":"yes"}', '{"ok":1}', "9")],
    "spellings of yes": ["'Y'", "'no'", "'true'", "'0'", "NULL"],
    "double import": ["'a'", "'a'", "'b'", "'c'", "'d'"],
    "empty beside NULL": ["''", "NULL", "'b'", "'c'", "'d'"],
}


@pytest.mark.parametrize(("kind", "flaw"), FLAWS)
def test_each_flaw_is_seen_where_it_is_and_missed_where_it_is_not(kind: str, flaw: str, tmp_path: Path) -> None:
    rows = [f"({number}, 1, 1, 40, '2024-01-03', {value}, 'x', 'y')" for number, value in enumerate(SHOWN[flaw])]
    if flaw != "double import":
        rows = [row.replace("40", f"4{number}") for number, row in enumerate(rows)]
    cell = {"data_quality": kind, "flaw": flaw}
    assert ended(tmp_path / "shown", teacher_model(RIGHT, world=with_rows("batch", rows)), cell) == {"accepted": 1}
    assert ended(tmp_path / "clean", teacher_model(RIGHT), cell) == {"world/clean_data": 1}


@pytest.mark.parametrize("answer", ["words", "{}", "", "```sql\nSELECT 1\n```", answer_by_default])
def test_a_teacher_that_answers_nonsense_gets_nothing_accepted(answer: Any, tmp_path: Path) -> None:
    model = ScriptedModel(answer if callable(answer) else lambda role, request: answer)
    summary = run_scripted(
        {
            "generator": "text_to_sql",
            "tasks": 30,
            "models": dict.fromkeys(("default", "writer", "solver"), SERVED),
            "params": {"mode": "teacher", "candidates": 2},
        },
        tmp_path,
        model,
    )
    assert (summary["accepted"], summary["failed"], summary["rejected"]) == (0, 0, 30)


def test_nonsense_from_the_solver_alone_gets_nothing_accepted(tmp_path: Path) -> None:
    nonsense = [
        "SELECT 1",
        "SELECT * FROM plant",
        "no idea",
        "SELECT city, SUM(pieces) FROM plant, batch",
    ]
    summary = run_scripted(config(tmp_path, 8), tmp_path / "run", teacher_model(*nonsense))
    assert summary["accepted"] == 0
