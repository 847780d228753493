"""The figures that the recipe of grammar mode promises, on a run of it with a scripted paraphraser."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from generators.text_to_sql.grammar import CONCEPTS
from gristmill.config import load_config
from gristmill.testing import run_scripted
from gristmill.text.diversity import diversity
from schemas.run_config import RunConfig

RECIPE = Path(__file__).parents[1] / "recipes/generate/text_to_sql.yaml"

pytestmark = [pytest.mark.postgres, pytest.mark.mysql]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The summary and the records of the recipe as it is, but for the model."""
    config = load_config(RECIPE, [], RunConfig).model_dump(mode="json", exclude_unset=True)
    config["models"] = {"default": {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}}
    folder = tmp_path_factory.mktemp("recipe")
    summary = run_scripted(config, folder)
    rows = pq.read_table(folder / "records").to_pylist()
    return summary, [{**row, "metadata": orjson.loads(row["metadata"])} for row in rows]


def tree_of(record: dict[str, Any]) -> exp.Expr:
    proof = record["metadata"]["sql"]
    return sqlglot.parse_one(proof["query"], dialect=proof["dialect"])


def skeleton(record: dict[str, Any]) -> str:
    """The query without its names and literals."""
    tree = tree_of(record)
    for node in list(tree.walk()):
        if isinstance(node, exp.Identifier | exp.Literal):
            node.set("this", "x")
    return tree.sql(record["metadata"]["sql"]["dialect"])


def test_two_hundred_records_and_every_one_proved_twice(run: Any) -> None:
    summary, records = run
    assert summary["accepted"] >= 200 and summary["accepted"] >= 0.97 * summary["tasks"], summary["by_reason"]
    assert all([verdict["passed"] for verdict in record["verdicts"]] == [True] for record in records)
    engines = {record["metadata"]["sql"]["dialect"]: record["metadata"]["sql"]["engine"] for record in records}
    assert engines["sqlite"].startswith("SQLite") and engines["postgres"].startswith("PostgreSQL")
    assert "MySQL" in engines["mysql"] and len(engines) == 3


def test_the_lead_and_the_context_are_of_the_dialect(run: Any) -> None:
    native = {"postgres": ("PostgreSQL", "NUMERIC"), "mysql": ("MySQL", "DECIMAL"), "sqlite": ("SQLite", "REAL")}
    for record in run[1]:
        dialect, asked = record["metadata"]["sql"]["dialect"], record["messages"][0]["content"]
        named = {name for name, (engine, _) in native.items() if engine in asked}
        assert named == {dialect}
        foreign = {mark for name, (_, mark) in native.items() if name != dialect}
        assert not any(mark in record["metadata"]["sql"]["context"] for mark in foreign)


def test_sixty_skeletons_in_each_dialect(run: Any) -> None:
    skeletons = defaultdict(set)
    for record in run[1]:
        skeletons[record["metadata"]["sql"]["dialect"]].add(skeleton(record))
    assert {dialect: len(found) >= 60 for dialect, found in skeletons.items()} == dict.fromkeys(skeletons, True)


def test_concepts_joins_and_steps(run: Any) -> None:
    _, records = run
    concepts = {record["metadata"]["cell"]["concept"] for record in records}
    assert len(concepts) >= 0.7 * len(CONCEPTS)
    trees = [tree_of(record) for record in records]
    assert sum(tree.find(exp.Join) is not None for tree in trees) >= 0.4 * len(trees)
    steps = (exp.CTE, exp.Subquery, exp.Exists, exp.Window)
    assert sum(tree.find(*steps) is not None for tree in trees) >= 0.15 * len(trees)


def test_no_question_twice_and_all_of_them_varied(run: Any) -> None:
    questions = [record["metadata"]["question"] for record in run[1]]
    assert Counter(questions).most_common(1)[0][1] == 1
    for texts in (questions[:200], [record["messages"][1]["content"] for record in run[1][:200]]):
        figures = diversity(texts)
        assert figures["distinct_3"] >= 0.45 and figures["self_bleu_4"] <= 0.7 and figures["neighbour"] <= 0.35
    assert diversity(questions[:200])["opening_share"] <= 0.1
