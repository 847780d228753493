"""The text-to-SQL generator by grammar: every way a task can end, its walk, and what is shipped."""

import json
import re
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from generators.text_to_sql import Params, TextToSQL
from generators.text_to_sql.by_grammar import agree
from generators.text_to_sql.cells import TIERS, Cell, grammar_cells
from generators.text_to_sql.context import LAYOUTS, choose_context, show
from generators.text_to_sql.grammar import CONCEPTS as GRAMMAR
from generators.text_to_sql.grammar import Query, query_of, sample_query, suited_concepts, tier_of
from generators.text_to_sql.grammar.plan import Aggregate, Plan, Ref
from generators.text_to_sql.load import bundled
from generators.text_to_sql.taxonomy import taxonomy
from gristmill.config import load_config
from gristmill.errors import ConfigError
from gristmill.plan import make_plan
from gristmill.prompts import PromptFolder
from gristmill.seeds import BadSeed
from gristmill.testing import ScriptedModel, check_generator, judge_scripted, run_scripted
from judges.sql_concepts import CONCEPTS, DIALECTS
from judges.sql_engine import Limits
from judges.sql_execution import prove_in_sqlite
from judges.sql_world import SQLProof, statements
from schemas import Record
from schemas.run_config import RunConfig

ROOT = Path(__file__).parents[1]
PROVED = [{"name": "sql_execution"}]
SERVED = {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}
COUNT_BY_CAUSE = Plan("x", "claim", (Ref((), "claim", "cause"), Aggregate("count")), group=(Ref((), "claim", "cause"),))
ROLES = dict.fromkeys(("default", "paraphraser", "poet", "writer", "solver"), SERVED)


def grammar(tasks: int = 30, **params: Any) -> dict[str, Any]:
    chosen = {"paraphrase": False, "dialects": ["sqlite"], **params}
    return {"generator": "text_to_sql", "tasks": tasks, "models": ROLES, "judges": PROVED, "params": chosen}


def records(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "records").to_pylist()
    return [{**row, "metadata": orjson.loads(row["metadata"])} for row in rows]


def rejects(run: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(run / "rejects").to_pylist())


def table_of(statement: str) -> str:
    """What a CREATE TABLE or an INSERT INTO is about, without quotes."""
    return re.split(r"[\s(\"]+", statement)[2]


# --- grammar ---------------------------------------------------------------------------------------------------------


def test_the_contract_by_grammar(tmp_path: Path) -> None:
    summary = check_generator(grammar(60), tmp_path)
    assert summary["accepted"] == 60, summary["by_reason"]
    for record in records(tmp_path / "one"):
        asked, answered = record["messages"]
        metadata = record["metadata"]
        proof = metadata["sql"]
        assert record["category"] == metadata["cell"]["tier"] and record["reasoning"] == "off"
        assert (metadata["mode"], metadata["phrasing"]) == ("grammar", "template") and "trace" not in metadata
        assert answered["content"] == f"```sql\n{proof['query']}\n```" and answered["reasoning_content"] is None
        assert metadata["question"] in asked["content"]
        tables = map(table_of, statements(proof["context"], "sqlite"))
        assert all(re.search(rf"\b{table}\b", asked["content"]) for table in tables)
        assert proof["distractor_tables"] and proof["distractor_columns"] and proof["row_count"] > 0
        assert [verdict["passed"] for verdict in record["verdicts"]] == [True]


def test_prompts_come_in_many_forms(tmp_path: Path) -> None:
    run_scripted(grammar(80), tmp_path)
    asked = [record["messages"][0]["content"] for record in records(tmp_path)]
    assert len({text.split("\n")[0] for text in asked}) >= 8
    assert sum("INSERT INTO" in text for text in asked) > 5
    assert sum("```" in text for text in asked) > 20 and sum("```" not in text for text in asked) > 10
    assert sum(re.search(r"^\w+\(\w+", text, re.MULTILINE) is not None for text in asked) > 10


def rewording(change: Any) -> ScriptedModel:
    """A paraphraser that applies `change` to the request in its prompt."""

    def script(role: str, request: dict[str, Any]) -> Any:
        assert role == "paraphraser"
        return change(request["messages"][0]["content"].split("\n\n")[1])

    return ScriptedModel(script)


def test_a_faithful_paraphrase_replaces_the_template(tmp_path: Path) -> None:
    model = rewording(lambda question: {"text": f"For my notes: {question}"})
    run_scripted(grammar(30, paraphrase=True), tmp_path, model)
    reworded = [r["metadata"] for r in records(tmp_path) if r["metadata"]["phrasing"] == "paraphrase"]
    assert len(reworded) > 15
    assert all(metadata["question"] == f"For my notes: {metadata['template']}" for metadata in reworded)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda question: {"text": "How is the weather in Ghent?"}, "missing"),
        (lambda question: {"text": f"Request: {question}"}, "speaks of the task"),
        (lambda question: {"text": f"{question} (labelled"}, "is cut off"),
        (lambda question: {"text": f"{question} They are ordered by the"}, "is cut off"),
        (lambda question: {"text": f"This request is not possible. {question}"}, "speaks of the task"),
        (lambda question: {"text": f"{question} `"}, "placeholder"),
        (lambda question: {"text": f"{question} {question[:90]}."}, "repeats itself"),
        (lambda question: {"text": f"{question} Limit the output, please."}, "a limit is added"),
        (lambda question: {"text": f"Hi, I am [Your Name]. {question}"}, "placeholder"),
        (lambda question: {"text": f"{question} " + "Thank you so much for all the help. " * 8}, "is much longer"),
        (lambda question: {"text": question + " Only those above 987654 euros."}, "987654"),
        (lambda question: "no JSON at all", "llm: unparseable"),
        (lambda question: {"text": "x" * 901}, "llm: unparseable"),
    ],
)
def test_an_unfaithful_paraphrase_leaves_the_template(change: Any, problem: str, tmp_path: Path) -> None:
    run_scripted(grammar(12, paraphrase=True), tmp_path, rewording(change))
    for record in records(tmp_path):
        metadata = record["metadata"]
        assert metadata["phrasing"] == "template" and "template" not in metadata
        assert any(problem in found for found in metadata["paraphrase_problems"])
        assert metadata["question"] in record["messages"][0]["content"]


def test_an_unchanged_question_is_no_paraphrase(tmp_path: Path) -> None:
    run_scripted(grammar(12, paraphrase=True), tmp_path, rewording(lambda question: {"text": question}))
    assert {record["metadata"]["phrasing"] for record in records(tmp_path)} == {"template"}


def test_the_paraphraser_may_have_another_role(tmp_path: Path) -> None:
    model = ScriptedModel()
    run_scripted(grammar(5, paraphrase="poet"), tmp_path, model)
    assert set(model.count_by_role()) == {"poet"}


def test_rejects_of_the_grammar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = tmp_path / "seeds.jsonl"
    unsuited = next(
        (name, concept)
        for name, database in bundled().items()
        for concept in GRAMMAR
        if concept not in suited_concepts(database)
    )
    cell = {"industry": "any", "database": unsuited[0], "tier": "basic", "concept": unsuited[1]}
    seeds.write_text(json.dumps(cell))
    config = {**grammar(1), "seeds": str(seeds)}
    assert run_scripted(config, tmp_path / "unsuited")["by_reason"] == {"grammar/unsuited": 1}

    assert "execution/too_many_rows" in run_scripted(grammar(20, limits={"rows": 2}), tmp_path / "rows")["by_reason"]
    (reject, *_) = rejects(tmp_path / "rows")
    assert "SELECT" in orjson.loads(reject["payload"])["query"]

    def empty(database: Any, concept: str, rng: Random) -> Query:
        query = sample_query(database, concept, rng)
        return Query(database, query.plan, query.ast, f"SELECT * FROM ({query.sql}) WHERE 1 = 0")

    module = sys.modules["generators.text_to_sql.by_grammar"]
    monkeypatch.setattr(module, "sample_query", empty)
    assert run_scripted(grammar(3), tmp_path / "empty")["by_reason"] == {"grammar/no_rows": 3}


@pytest.mark.postgres
def test_engines_that_disagree_are_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dialect in which the same plan would mean something else."""
    module = sys.modules["generators.text_to_sql.by_grammar"]

    def other(plan: Plan, database: Any, dialect: Any = "sqlite") -> Query:
        query = query_of(plan, database, dialect)
        return Query(database, plan, query.ast, query.sql.replace("COUNT(*)", "COUNT(*) + 1"), dialect)

    monkeypatch.setattr(module, "query_of", other)
    seeds = tmp_path / "seeds.jsonl"
    cell = {"industry": "any", "database": "airline", "tier": "basic", "concept": "count_rows", "dialect": "postgres"}
    seeds.write_text(json.dumps(cell))
    summary = run_scripted({**grammar(1), "seeds": str(seeds)}, tmp_path / "run")
    assert summary["by_reason"] == {"execution/engines_disagree": 1}
    (reject,) = rejects(tmp_path / "run")
    assert "SQLite" in reject["detail"] and "PostgreSQL" in reject["detail"]


def proof(rows: list[list[Any]], count: int | None = None) -> SQLProof:
    counted = len(rows) if count is None else count
    return SQLProof(context="", query="", columns=[], ordered=False, row_count=counted, result=rows, hash="", engine="")


def test_what_counts_as_the_same_rows() -> None:
    assert agree(proof([["a", 2.33333], ["b", 1]]), proof([["b", 1], ["a", 2.3333]]), ordered=False)
    assert not agree(proof([["a", 1], ["b", 2]]), proof([["b", 2], ["a", 1]]), ordered=True)
    assert not agree(proof([["a", 1]]), proof([["a", 1.01]]), ordered=True)
    assert not agree(proof([["a", 1]]), proof([["a", 1], ["b", 1]]), ordered=True)
    assert not agree(proof([[None]]), proof([[0]]), ordered=True)
    assert agree(proof([["a"]], count=30), proof([["b"]], count=30), ordered=False), "any ten of thirty rows"


def test_no_condition_is_idle(tmp_path: Path) -> None:
    """Where the outermost query filters, the filter takes something away."""
    import sqlglot

    from judges.sqlite_engine import SQLite

    run_scripted(grammar(90), tmp_path)
    filtered = 0
    for record in records(tmp_path):
        proof = record["metadata"]["sql"]
        tree = sqlglot.parse_one(proof["query"], dialect="sqlite")
        if tree.args.pop("where", None):
            filtered += 1
            with SQLite(proof["context"], Limits()) as engine:
                results = [engine.run(query)[1] for query in (proof["query"], tree.sql("sqlite"))]
            assert Counter(results[0]) != Counter(results[1])
    assert filtered > 20


def test_the_users_own_database(tmp_path: Path) -> None:
    own = ROOT / "generators/text_to_sql/databases/airline.yaml"
    config = grammar(15, database=str(own), tiers=["advanced"])
    assert run_scripted(config, tmp_path / "run")["accepted"] == 15
    cells = [record["metadata"]["cell"] for record in records(tmp_path / "run")]
    assert {(cell["database"], cell["tier"]) for cell in cells} == {("airline", "advanced")}
    with pytest.raises(ConfigError, match="doesn't exist"):
        run_scripted(grammar(1, database="nowhere.sqlite"), tmp_path / "other")


def test_a_database_without_anything_to_ask(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "industry: none\ntables:\n  t:\n    words: [thing, things]\n    columns:\n"
        "      t_id: {kind: id, words: thing number}\n    rows: |\n      1\n"
    )
    with pytest.raises(ConfigError, match="none of its queries would be of the tiers advanced"):
        list(TextToSQL(Params(database=path, tiers=["advanced"])).tasks())


@pytest.mark.shared
def test_chinook_end_to_end(shared_data: Path, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "Chinook.sqlite"
    path.write_bytes(gzip.decompress((shared_data / "sql/chinook/Chinook_Sqlite.sqlite.gz").read_bytes()))
    summary = run_scripted(grammar(60, database=str(path)), tmp_path / "run")
    assert summary["accepted"] >= 50, summary["by_reason"]
    for record in records(tmp_path / "run"):
        assert len(orjson.dumps(record["metadata"])) < 100_000


# --- context and cells -----------------------------------------------------------------------------------------------


def test_distractors_are_linked_and_every_layout_shows_everything() -> None:
    database = bundled()["insurance"]
    for turn in range(20):
        rng = Random(turn)
        query = query_of(COUNT_BY_CAUSE, database)
        context = choose_context(query, rng)
        assert context.distractor_tables == ["policy"], "the only neighbour of claim"
        assert "claim.cause" not in context.distractor_columns and "claim.status" in context.distractor_columns
        prove_in_sqlite(context.world("sqlite"), query.sql)
        for dialect in DIALECTS:
            for layout in LAYOUTS:
                text = show(context.tables, layout, dialect, rng)
                for table in context.tables:
                    for column in table.columns:
                        assert re.search(rf"\b{column.name}\b", text), (layout, column.name)
    policies = query_of(Plan("x", "policy", (Aggregate("count"),)), database)
    assert len(choose_context(policies, Random(0)).tables) == 3


def test_every_beginning_of_the_walk_is_even() -> None:
    cells = list(islice(grammar_cells(bundled(), TIERS, DIALECTS, 7), 900))
    for beginning in (90, 450, 900):
        part = cells[:beginning]
        for value in (
            lambda c: c.tier,
            lambda c: c.dialect,
            lambda c: c.style.instruction,
            lambda c: c.style.register,
            lambda c: c.style.politeness,
        ):
            counts = Counter(map(value, part))
            assert max(counts.values()) - min(counts.values()) <= 1
        databases = Counter(c.database for c in part)
        assert len(databases) == len(bundled()) and max(databases.values()) <= 1.5 * min(databases.values()) + 4
    assert {c.concept for c in cells} == set(GRAMMAR)
    assert all(tier_of(c.concept) == c.tier and c.dialect in CONCEPTS[c.concept].dialects for c in cells)
    assert cells == list(islice(grammar_cells(bundled(), TIERS, DIALECTS, 7), 900))
    assert cells != list(islice(grammar_cells(bundled(), TIERS, DIALECTS, 8), 900))


def test_seeds_from_a_file(tmp_path: Path) -> None:
    seeds = tmp_path / "cells.jsonl"
    good = {"industry": "x", "database": "airline", "tier": "basic", "concept": "filter_equal"}
    lines = [good, {**good, "database": "nowhere"}, {**good, "concept": "magic"}, {**good, "tier": "expert"}]
    lines += [{**good, "dialect": "postgres"}, {**good, "dialect": "oracle"}]
    seeds.write_text("\n".join(map(json.dumps, lines)) + "\n{broken")
    tasks = list(TextToSQL(Params(), seeds=str(seeds)).tasks())
    assert [getattr(task, "dialect", "") for task in tasks] == ["sqlite", "", "", "", "postgres", "", ""]
    bad = [task for task in tasks if isinstance(task, BadSeed)]
    assert [task.where for task in bad] == ["line:2", "line:3", "line:4", "line:6", "line:7"]
    assert "database is none of airline" in bad[0].detail and "concept is none of" in bad[1].detail
    teacher = list(TextToSQL(Params(mode="teacher"), seeds=str(seeds)).tasks())
    assert [isinstance(task, Cell) for task in teacher] == [True, True, False, False, True, False, False]
    seeds.write_text(json.dumps({**good, "concept": "geo_within", "tier": "advanced"}))
    (elsewhere,) = TextToSQL(Params(mode="teacher"), seeds=str(seeds)).tasks()
    assert isinstance(elsewhere, BadSeed) and "sqlite doesn't have geo_within" in elsewhere.detail


# --- what is shipped -------------------------------------------------------------------------------------------------


EXAMPLES = [
    Record.model_validate(orjson.loads(line))
    for line in (TextToSQL.folder() / "examples.jsonl").read_bytes().splitlines()
]


def test_three_examples_of_three_tiers_and_dialects() -> None:
    assert [example.category for example in EXAMPLES] == list(TIERS)
    cells = [Cell.model_validate(example.metadata["cell"]) for example in EXAMPLES]
    assert [cell.dialect for cell in cells] == list(DIALECTS)
    for example, cell in zip(EXAMPLES, cells, strict=True):
        metadata: Any = example.metadata
        assert cell.concept in metadata["concepts"] and cell.industry in taxonomy().industries
        assert metadata["sql"]["dialect"] == cell.dialect and metadata["trace"] == "authored"
        trace = example.messages[-1].reasoning_content or ""
        assert len(trace.split()) > 100
        assert not re.search(r"distractor|taxonomy|the prompt|the generator", trace, re.IGNORECASE)


@pytest.mark.parametrize(
    "number",
    [0, pytest.param(1, marks=pytest.mark.postgres), pytest.param(2, marks=pytest.mark.mysql)],
)
def test_each_example_passes_its_own_validators(number: int, tmp_path: Path) -> None:
    (judged,) = judge_scripted([{"name": "sql_execution"}, {"name": "meta_leak"}], [EXAMPLES[number]], tmp_path)
    assert judged.status == "accepted", judged


@pytest.mark.parametrize("name", ["text_to_sql", "text_to_sql_teacher"])
def test_recipes_are_valid(name: str) -> None:
    make_plan(load_config(ROOT / f"recipes/generate/{name}.yaml", [], RunConfig))


@pytest.mark.parametrize("lead", range(8))
@pytest.mark.parametrize("order", ["fenced", "plain", "schema_last"])
def test_the_question_is_a_paragraph_of_its_own(lead: int, order: str) -> None:
    prompt = PromptFolder(TextToSQL.folder() / "prompts")["sample"]
    schema = "CREATE TABLE a (b TEXT); -- {{ b }}\n\nCREATE TABLE c (d TEXT);"
    values = {"lead": lead, "order": order, "schema": schema, "question": "Which {{ b }}?", "engine": "PostgreSQL"}
    text = prompt.render(values)
    assert "PostgreSQL" in text and "SQLite" not in text
    assert "Which {{ b }}?" in text.split("\n\n") and schema in text
    assert text.count("```") == (0 if order == "plain" else 2)
