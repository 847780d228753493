"""The five critics of text_to_sql: several dimensions, an anchor for every score, and a recipe that names them."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    engine, *critics = RECIPE["judges"]
    assert engine == {"name": "sql_execution"}, "what costs no tokens comes first"
    assert [critic["rubric"] for critic in critics] == [f"text_to_sql/{name}" for name in CRITICS]
    for critic, name in zip(critics, CRITICS, strict=True):
        known = {dimension["name"] for dimension in rubric(name)["dimensions"]}
        assert critic["judge"] == "rubric" and 0 < critic["min_score"] <= 4
        assert critic["at_least"].keys() <= known and critic["at_least"]
