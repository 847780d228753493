"""The template generator: a pipeline in YAML."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from generators.template import keep_condition
from gristmill.errors import ConfigError, TaskFailed, TooManyFailed
from gristmill.testing import ScriptedModel, check_generator, run_scripted

SCORE = {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "reason": {"type": "string", "maxLength": 200}}


def config(seeds: Path, **params: Any) -> dict[str, Any]:
    steps = [
        {"name": "question", "role": "writer", "prompt": "Write one question about: {{ text }}"},
        {"name": "verdict", "role": "judge", "prompt": "Score {{ question }} for {{ text }}", "schema": SCORE},
    ]
    turns = [{"role": "user", "content": "{{ question }}"}, {"role": "assistant", "content": "{{ text }}"}]
    chosen = {"steps": steps, "keep_if": "verdict.score >= 3", "messages": turns, **params}
    return {"generator": "template", "seeds": str(seeds), "params": chosen}


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    rows = [{"text": f"fact {n} with {{{{ braces }}}} and {{% tags %}}", "unused": n} for n in range(20)]
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return path


def test_the_contract(seeds: Path, tmp_path: Path) -> None:
    summary = check_generator(config(seeds), tmp_path / "runs")
    assert summary["tasks"] == 20 and 0 < summary["accepted"] < 20
    assert set(summary["by_reason"]) == {"keep_if/not_kept"}
    row = pq.read_table(tmp_path / "runs" / "one" / "records").to_pylist()[0]
    assert "{{ braces }} and {% tags %}" in row["messages"][1]["content"]
    assert orjson.loads(row["metadata"])["verdict"]["score"] >= 3


def test_a_malformed_line_is_a_failed_task_and_the_rest_goes_on(seeds: Path, tmp_path: Path) -> None:
    lines = seeds.read_bytes().splitlines()
    seeds.write_bytes(b"\n".join([*lines[:3], b'{"text": "half', b"[1]", b'{"other": 1}', b"", *lines[3:]]))
    with pytest.raises(TooManyFailed, match="3 of 23 tasks failed"):
        run_scripted(config(seeds, keep_if=""), tmp_path / "run")
    rejects = {row["task_id"]: row for row in pq.read_table(tmp_path / "run" / "rejects").to_pylist()}
    assert "not valid JSON" in rejects["line:4"]["detail"] and "not a JSON object" in rejects["line:5"]["detail"]
    (missing,) = [row for task, row in rejects.items() if not task.startswith("line:")]
    assert "steps.question asks for text" in missing["detail"]
    assert pq.read_table(tmp_path / "run" / "records").num_rows == 20


def test_the_same_row_twice_is_two_tasks(seeds: Path, tmp_path: Path) -> None:
    seeds.write_bytes(b'{"text": "same"}\n{"text": "same"}\n')
    summary = run_scripted(config(seeds, keep_if=""), tmp_path / "run")
    tasks = pq.read_table(tmp_path / "run" / "records").column("task_id").to_pylist()
    assert summary["accepted"] == 2 and tasks[1] == f"{tasks[0]}-1"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_other_seed_files(seeds: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"seeds.{suffix}"
    if suffix == "csv":
        path.write_text('text,n\n"a, b",1\nc,2\n')
    else:
        import pyarrow as pa

        pq.write_table(pa.Table.from_pylist([{"text": "a, b", "n": 1}, {"text": "c", "n": 2}]), path)
    run_scripted(config(path, keep_if=""), tmp_path / "run")
    answers = [row["messages"][1]["content"] for row in pq.read_table(tmp_path / "run" / "records").to_pylist()]
    assert answers == ["a, b", "c"]


def test_tasks_takes_the_first_rows(seeds: Path, tmp_path: Path) -> None:
    model = ScriptedModel()
    summary = run_scripted({**config(seeds), "tasks": 4}, tmp_path / "run", model)
    assert summary["tasks"] == 4 and model.count_by_role() == {"writer": 4, "judge": 4}


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"keep_if": "open('x')"}, "calls something"),
        ({"keep_if": "verdict.score >="}, "no valid expression"),
        ({"messages": []}, "params: messages"),
        ({"steps": [{"name": "q", "role": "w", "prompt": "{% if %}"}]}, "not a valid template"),
        ({"stepz": []}, "Did you mean steps"),
    ],
)
def test_mistakes_are_config_errors(seeds: Path, tmp_path: Path, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run_scripted(config(seeds, **params), tmp_path / "run")
    with pytest.raises(ConfigError, match="doesn't exist"):
        run_scripted({**config(seeds), "seeds": "absent.jsonl"}, tmp_path / "run")


def test_keep_if_reads_values_and_nothing_else() -> None:
    given = {"verdict": {"score": 4, "labels": ["a"]}, "text": "long enough"}
    assert keep_condition("verdict.score >= 3 and text|length > 5 and 'a' in verdict.labels")(given)
    assert not keep_condition("verdict.score == 5")(given)
    with pytest.raises(TaskFailed, match="keep_if"):
        keep_condition("verdict.absent > 1")(given)
    with pytest.raises(TaskFailed, match="can't be compared"):
        keep_condition("text > 1")(given)
    for attack in ("''.__class__.__mro__", "text.__class__.__init__.__globals__"):
        with pytest.raises((ConfigError, TaskFailed)):
            keep_condition(attack)(given)
