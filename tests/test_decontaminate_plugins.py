"""Decontamination as a gate of blends, as a judge of runs, and the calibration of embedders."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from blends.build import build
from gristmill.config import validate
from gristmill.decontamination.benchmarks import Item
from gristmill.decontamination.calibration import resolve
from gristmill.decontamination.planting import planted
from gristmill.decontamination.similarity import passage, record_passages
from gristmill.errors import ConfigError, EndpointError
from gristmill.llm import Network
from gristmill.testing import FaultServer, ScriptedModel, judge_scripted
from gristmill.views import connect
from schemas import Record, assistant, user
from schemas.arrow import records_to_table
from schemas.blend_config import BlendConfig
from schemas.decontamination import Calibration
from tests.conftest import CLI
from tests.planted import exercises
from tests.test_blend import HUB

SUM = Item(
    "sum/1",
    "Write a function that adds the squares of all odd numbers in a list of integers and returns the total.",
    code="def odd_squares(xs):\n    n = 0\n    for x in xs:\n        if x % 2:\n            n += x * x\n    return n\n",
)
FERRY = Item("ferry", "A ferry needs forty minutes down the river and one hour back up; how fast is it in still water?")


@pytest.fixture
def benchmarks(tmp_path: Path) -> list[str]:
    """One of code and one of text."""
    code = {"task_id": SUM.id, "text": SUM.question, "code": SUM.code}
    (tmp_path / "code.jsonl").write_bytes(orjson.dumps(code))
    text = [{"id": FERRY.id, "question": FERRY.question, "answer": "9"}]
    text += [{"id": f"other-{n}", "question": f"Which {w} did the {v} of Ghent buy in the year {1400 + n}?"}
             for n, (w, v) in enumerate([("cloth", "weavers"), ("boats", "sailors"), ("bells", "monks")])]  # fmt: skip
    (tmp_path / "text.json").write_bytes(orjson.dumps(text))
    return [str(tmp_path / "code.jsonl"), str(tmp_path / "text.json")]


def conversation(texts: list[str]) -> Record:
    return Record(messages=[user(texts[0]), assistant(texts[1])], generator="g")


RETOLD = "How fast is it in still water? One hour back up; and a ferry needs forty minutes down the river"


def mixed() -> list[Record]:
    """Five copies among twenty exercises: two by text, one by code, one by n-grams, one retold."""
    copies = [
        planted(SUM, "verbatim"),
        [f"My homework: {FERRY.question}", "It makes nine knots."],
        planted(SUM, "renamed"),
        [FERRY.question.replace("still water", "calm lakes"), "Nine."],
        [RETOLD, "9"],
    ]
    return [conversation(texts) for texts in [*copies, *exercises(20, seed=3)]]


def write(path: Path, records: list[Record]) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps({"messages": [m.to_openai() for m in r.messages]}) for r in records))
    return path


def blended(folder: Path, gate: dict[str, Any], **more: Any) -> dict[str, Any]:
    sources = [{"name": "all", "path": str(write(folder / "all.jsonl", mixed())), "weight": 1}]
    content = {"out": folder / "out", "total": 100, "short": "shrink", "sources": sources, "gates": gate, **more}
    return build(validate(content, BlendConfig, "test"))


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with connect(folder / "out") as connection:
        found: list[tuple[Any, ...]] = connection.sql(query).fetchall()
        return found


# ---- the gate


def test_the_gate_says_what_it_dropped_and_why(tmp_path: Path, benchmarks: list[str]) -> None:
    made = blended(tmp_path, {"decontaminate": {"against": benchmarks}})
    assert [gate for gate in made["gates"] if "decontaminate" in gate["gate"]] == [
        {"gate": "decontaminate.exact", "rows": 25, "dropped": 3},
        {"gate": "decontaminate.ngram", "rows": 22, "dropped": 1},
    ]
    assert made["dropped"]["contaminated"] == 4 and made["total"]["realised"] == 21
    dropped = rows(tmp_path, "SELECT reason, detail FROM dropped WHERE reason = 'contaminated' ORDER BY detail")
    details = [detail for _, detail in dropped]
    assert details[0] == "code: sum/1, code 1.00" and details[1] == "code: sum/1, text 1.00"
    assert details[2].startswith("text: ferry, ngram 0.") and details[3] == "text: ferry, text 1.00"
    code, text = made["contamination"]["benchmarks"]
    assert (code["items"], code["items_found"], code["text"], code["code"], code["ngram"]) == (1, 1, 1, 1, 0)
    assert (text["items"], text["items_found"], text["text"], text["code"], text["ngram"]) == (4, 1, 1, 0, 1)
    assert len(code["version"]) == 64 and made["contamination"]["embedder"] is None
    assert "items found" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert rows(tmp_path, "SELECT count(*) FROM samples WHERE messages[1].content LIKE '%ferry%'") == [(1,)]


def test_similarity_finds_what_was_retold(tmp_path: Path, benchmarks: list[str]) -> None:
    (tmp_path / "words.yaml").write_text("model: words\nthreshold: 0.9\nsource: a test\n")
    gate = {"against": benchmarks, "similarity": str(tmp_path / "words.yaml")}
    with FaultServer() as server:
        models = {"embedder": {"endpoint": server.url, "model": "words"}}
        made = blended(tmp_path, {"decontaminate": gate}, models=models)
    assert made["gates"][-1] == {"gate": "decontaminate.similarity", "rows": 21, "dropped": 1}
    (found,) = rows(tmp_path, "SELECT messages[1].content, detail FROM dropped WHERE detail LIKE '%similarity%'")
    assert found[0] == RETOLD and found[1].startswith("text: ferry, similarity 1.00")
    assert made["contamination"]["embedder"]["threshold"] == 0.9


def test_two_builds_are_the_same(tmp_path: Path, benchmarks: list[str]) -> None:
    made = blended(tmp_path, {"decontaminate": {"against": benchmarks}})
    parts = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*/*.parquet")}
    assert blended(tmp_path, {"decontaminate": {"against": benchmarks}}) == made
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*/*.parquet")} == parts


@pytest.mark.parametrize(
    ("gate", "models", "said"),
    [
        (
            {"similarity": 0.8},
            {"embedder": {"endpoint": "http://127.0.0.1:9/v1", "model": "mine"}},
            "has no calibration",
        ),
        ({"similarity": 0.8}, {}, "needs models.embedder"),
        (
            {},
            {"embedder": {"endpoint": "embedded"}},
            "is used by gates.decontaminate.similarity and gates.dedup.semantic alone",
        ),
        ({"similarity": "high"}, {"embedder": {"endpoint": "embedded"}}, "expected a number between 0 and 1"),
        ({"similarity": 80}, {"embedder": {"endpoint": "embedded"}}, "gates.decontaminate.similarity"),
        ({"against": []}, {}, "gates.decontaminate.against"),
        ({"against": ["nowhere.jsonl"]}, {}, "nowhere.jsonl doesn't exist"),
        ({"ngrams": 13}, {}, "unknown key gates.decontaminate.ngrams. Did you mean ngram?"),
    ],
)
def test_wrong_configs_are_refused_before_anything_is_read(
    gate: dict[str, Any], models: dict[str, Any], said: str, tmp_path: Path, benchmarks: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        blended(tmp_path, {"decontaminate": {"against": benchmarks, **gate}}, models=models)
    assert said in str(refused.value) and not (tmp_path / "out").exists()


def test_a_benchmark_may_be_a_hub_dataset_at_a_revision(tmp_path: Path, benchmarks: list[str]) -> None:
    pytest.importorskip("datasets")
    hub = [
        conversation([f"Please tell me in full what the clerk of Ghent wrote in letter {n}.", "It"]) for n in range(3)
    ]
    pq.write_table(records_to_table(hub), tmp_path / "data.parquet")
    write(tmp_path / "all.jsonl", [*mixed(), conversation([hub[1].messages[0].content, "He wrote of cloth."])])
    source = {"name": "all", "path": "all.jsonl", "weight": 1}
    gates = {"decontaminate": {"against": ["hf://o/sums@main"]}}
    config = {"out": "out", "total": 100, "short": "shrink", "sources": [source], "gates": gates}
    (tmp_path / "blend.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "hub.py").write_text(HUB)

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "hub.py", "data.parquet", "blend.yaml", *overrides]
        env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)

    done = run()
    assert done.returncode == 0, done.stderr
    (found,) = orjson.loads((tmp_path / "out/manifest.json").read_bytes())["contamination"]["benchmarks"]
    assert (found["benchmark"], found["version"], found["items"], found["text"]) == ("o/sums", "c" * 40, 3, 1)
    unknown = run("gates.decontaminate.against=[hf://o/other@main]")
    assert unknown.returncode == 4 and "hf://o/other@main can't be read from the hub" in unknown.stderr


def test_an_embedder_that_refuses_a_text_ends_the_command_with_a_sentence(
    tmp_path: Path, benchmarks: list[str]
) -> None:
    (tmp_path / "words.yaml").write_text("model: words\nthreshold: 0.9\n")
    gate = {"against": benchmarks, "similarity": str(tmp_path / "words.yaml")}
    with FaultServer() as server:
        server.longest_input = 60
        models = {"embedder": {"endpoint": server.url, "model": "words"}}
        with pytest.raises(EndpointError, match="reads no text of this length"):
            blended(tmp_path, {"decontaminate": gate}, models=models)
        judge = {"name": "decontaminate", **gate}
        with pytest.raises(EndpointError, match="reads no text of this length"):
            judge_scripted([judge], mixed(), tmp_path, Network(5), models)


# ---- the judge


def test_the_judge_names_item_method_and_score(tmp_path: Path, benchmarks: list[str]) -> None:
    found = judge_scripted([{"name": "decontaminate", "against": benchmarks}], mixed(), tmp_path)
    assert [one.fault for one in found[:4]] == ["decontaminate/failed"] * 4
    assert [one.detail for one in found[:3]] == [
        "code: sum/1, text 1.00", "text: ferry, text 1.00", "code: sum/1, code 1.00"
    ]  # fmt: skip
    assert found[3].detail.startswith("text: ferry, ngram 0.")
    assert [one.status for one in found[4:]] == ["accepted"] * 21
    assert found[4].verdicts["decontaminate"].score == 1.0


def test_the_judge_embeds_the_benchmarks_once(tmp_path: Path, benchmarks: list[str]) -> None:
    (tmp_path / "words.yaml").write_text("model: words\nthreshold: 0.9\n")
    judge = {"name": "decontaminate", "against": benchmarks, "similarity": str(tmp_path / "words.yaml")}
    models = {"embedder": {"endpoint": "http://scripted.invalid/v1", "model": "words"}}
    model = ScriptedModel()
    found = judge_scripted([judge], mixed(), tmp_path, model, models)
    assert found[4].fault == "decontaminate/failed" and found[4].detail.startswith("text: ferry, similarity 1.00")
    assert found[4].verdicts["decontaminate"].model == "words"
    assert [one.status for one in found[5:]] == ["accepted"] * 20
    inputs: list[Any] = [request["input"] for _, request in model.calls]
    assert [len(texts) for texts in inputs] == [5] + [1] * 21


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"default": {"endpoint": "http://scripted.invalid/v1", "model": "m"}}, "models.embedder is missing"),
        ({"embedder": {"endpoint": "http://scripted.invalid/v1", "model": "m"}}, "the embedder m has no calibration"),
    ],
)
def test_the_judge_refuses_an_embedder_that_is_missing_or_uncalibrated(
    models: dict[str, Any], said: str, tmp_path: Path, benchmarks: list[str]
) -> None:
    judge = {"name": "decontaminate", "against": benchmarks, "similarity": 0.8}
    with pytest.raises(ConfigError) as refused:
        judge_scripted([judge], mixed(), tmp_path, models=models)
    assert said in str(refused.value)


def test_passages_are_problem_with_solution() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "Sure:\n```python\na + b\n```\nDone."},
        {"role": "user", "content": "Why?"},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Thanks."},
    ]
    assert record_passages(turns) == ["Add.\na + b", "Why?\nBecause.", "Thanks."]
    assert record_passages([{"role": "assistant", "content": "Alone."}]) == ["Alone."]
    assert len(passage("x" * 9999, "y" * 9999)) == 4001


# ---- calibration


def test_a_number_needs_a_calibrated_embedder() -> None:
    report = resolve(0.75, "Qwen/Qwen3-Embedding-0.6B")
    assert report.threshold == 0.75 and resolve("calibrated", "qwen3-embedding-0.6b").threshold == 0.8
    with pytest.raises(ConfigError, match="run `gristmill calibrate CONFIG"):
        resolve(0.8, "text-embedding-3-small")


def test_a_calibration_is_of_one_model(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: lab/mine\nthreshold: 0.7\n")
    assert resolve(str(path), "Mine").threshold == 0.7
    with pytest.raises(ConfigError, match="calibrates lab/mine, not other"):
        resolve(str(path), "other")


def test_calibrate_measures_on_planted_and_clean(cli: CLI, tmp_path: Path, benchmarks: list[str]) -> None:
    write(tmp_path / "clean.jsonl", [conversation(texts) for texts in exercises(200, seed=5)])
    config = {"against": benchmarks, "clean": "clean.jsonl"}
    with FaultServer() as server:
        model = {"endpoint": server.url, "model": "words"}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({**config, "models": {"embedder": model}}))
        done = cli("calibrate", "c.yaml", "--out", "words.yaml")
        few = cli("calibrate", "c.yaml", "clean=null")
    assert done.returncode == 0, done.stderr
    made = validate(yaml.safe_load((tmp_path / "words.yaml").read_text()), Calibration, "words.yaml")
    assert made.model == "words" and made.clean == 200 and made.flagged is not None and made.flagged <= 0.01
    at = {point.threshold: point for point in made.curve}
    assert at[0.5].found >= at[0.9].found and at[0.5].flagged >= at[0.9].flagged
    assert resolve(str(tmp_path / "words.yaml"), "words").threshold == made.threshold
    assert few.returncode == 2 and "clean texts are too few" in few.stderr


@pytest.mark.embedder
@pytest.mark.shared
def test_the_bundled_threshold_holds_on_real_items(shared_data: Path, tmp_path: Path) -> None:
    """Of retold items some are found by the embedded embedder, of exercises next to none is flagged."""
    from gristmill import minilm
    from gristmill.decontamination import read_benchmark
    from gristmill.decontamination.similarity import Neighbours, benchmark_passages

    threshold = resolve("calibrated", minilm.MODEL_NAME).threshold
    humaneval = read_benchmark(str(shared_data / "code_benchmarks/HumanEval.jsonl.gz"))
    part = [humaneval._replace(items=humaneval.items[:20])]
    neighbours = Neighbours(part, minilm.embed(benchmark_passages(part))[0])
    clean = [passage(*texts) for texts in exercises(60, seed=11)]
    flagged = sum(hit.score >= threshold for hit in neighbours.nearest(minilm.embed(clean)[0]))
    assert flagged <= 1
    questions = [passage(item.question, "") for item in part[0].items]
    found = sum(hit.score >= threshold for hit in neighbours.nearest(minilm.embed(questions)[0]))
    assert found >= 18
