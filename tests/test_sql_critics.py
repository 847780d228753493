"""The five critics of text_to_sql: several dimensions, an anchor for every score, and a recipe that names them."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.testing import ScriptedModel, run_scripted
from judges.rubric import load_rubric
from tests.sql_teacher_world import CELL, RIGHT, teacher_model

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "judges/rubrics/text_to_sql"
CRITICS = ("prompt", "sql", "context", "data_quality", "knowledge")
RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "recipes/generate/text_to_sql_teacher.yaml").read_text("utf-8"))


def rubric(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return loaded


@pytest.mark.parametrize("name", CRITICS)
def test_each_dimension_has_an_anchor_for_every_score(name: str) -> None:
    critic = rubric(name)
    assert critic["name"] == f"text_to_sql/{name}" and critic["scale"] == {"min": 0, "max": 4}
    assert len(critic["dimensions"]) >= 4
    for dimension in critic["dimensions"]:
        assert list(dimension["anchors"]) == [0, 1, 2, 3, 4] and dimension["question"].endswith("?")
        assert len(set(dimension["anchors"].values())) == 5


def test_no_two_dimensions_ask_the_same() -> None:
    asked = [(n, d["name"], set(d["question"].lower().split())) for n in CRITICS for d in rubric(n)["dimensions"]]
    for (critic, one, words), (other_critic, other, more) in combinations(asked, 2):
        assert len(words & more) / len(words | more) < 0.4, (critic, one, other_critic, other)


def test_the_recipe_has_all_five_with_their_thresholds() -> None:
    engine, leak, *critics, duplicates = RECIPE["judges"]
    assert [judge["name"] for judge in (engine, leak, duplicates)] == ["sql_execution", "meta_leak", "duplicates"]
    assert [critic["rubric"] for critic in critics] == [f"text_to_sql/{name}" for name in CRITICS]
    for critic, name in zip(critics, CRITICS, strict=True):
        known = {dimension["name"] for dimension in rubric(name)["dimensions"]}
        assert critic["judge"] == "rubric" and 0 < critic["min_score"] <= 4
        assert critic["at_least"].keys() <= known and critic["at_least"]


@pytest.mark.parametrize("name", CRITICS)
def test_the_rubric_judge_takes_it(name: str) -> None:
    critic = load_rubric(f"text_to_sql/{name}")
    assert (critic.scale.min, critic.scale.max) == (0, 4) and critic.min_score == 3


# --- the recipe's judges on a teacher's record -----------------------------------------------------------------------


def judged(tmp_path: Path, scores: dict[str, int]) -> tuple[dict[str, Any], list[str]]:
    """A teacher's record before the recipe's judges, with full marks but for `scores`; what each critic was shown."""
    teacher = teacher_model(RIGHT)
    shown: list[str] = []

    def script(role: str, request: Any) -> Any:
        if role != "judge":
            return teacher.script(role, request)
        shown.append(request["messages"][0]["content"])
        names = request["response_format"]["json_schema"]["schema"]["properties"]
        return {name: {"reason": "as it reads", "score": scores.get(name, 4)} for name in names}

    (tmp_path / "cells.jsonl").write_text(json.dumps(CELL))
    served = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
    config = {
        "generator": "text_to_sql",
        "seeds": str(tmp_path / "cells.jsonl"),
        "tasks": 1,
        "models": dict.fromkeys(("default", "writer", "solver", "judge"), served),
        "params": {"mode": "teacher"},
        "judges": RECIPE["judges"],
    }
    return run_scripted(config, tmp_path / "run", ScriptedModel(script)), shown


def test_five_critics_pass_a_good_record_and_each_reads_its_own_part(tmp_path: Path) -> None:
    summary, shown = judged(tmp_path, {})
    assert summary["accepted"] == 1 and len(shown) == 5
    (row,) = pq.read_table(tmp_path / "run/records").to_pylist()
    assert {f"{name}_critic" for name in CRITICS} <= {verdict["name"] for verdict in row["verdicts"]}
    assert len({text[:300] for text in shown}) == 5
    assert ["visit" in text.split("Conversation:")[0] for text in shown] == [False, False, True, False, False]
    assert [text.split("Conversation:")[0].rstrip().endswith("none") for text in shown] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("critic", "scores"),
    [
        ("prompt_critic", {"one_reading": 2}),
        ("sql_critic", {"robust": 1}),
        ("sql_critic", {"correct": 3, "robust": 3, "scope": 2, "economy": 2, "craft": 2}),
        ("context_critic", {"consistent": 2}),
        ("data_quality_critic", {"handled": 0}),
        ("knowledge_critic", {"applied": 2}),
    ],
)
def test_a_low_score_in_any_of_them_rejects(critic: str, scores: dict[str, int], tmp_path: Path) -> None:
    summary, _ = judged(tmp_path, scores)
    assert summary["by_reason"] == {f"{critic}/failed": 1}
