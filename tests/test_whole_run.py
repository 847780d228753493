"""Judges of whole runs within a run: what they remove is named, and neither speed nor a resume changes it."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from gristmill.errors import TooFewRecords
from gristmill.runs import refresh
from gristmill.testing import ScriptedModel, run_scripted


def config(folder: Path, **more: Any) -> dict[str, Any]:
    """200 tasks; of every three questions in a row, two are the same; every tenth answer is long."""
    seeds = folder / "seeds.jsonl"
    rows = [{"text": f"{n - (n % 3 == 1)}", "answer": "long " * (40 if n % 10 == 9 else 1)} for n in range(200)]
    seeds.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    steps = [{"name": "asked", "role": "writer", "prompt": "Ask about {{ text }}"}]
    turns = [{"role": "user", "content": "What is {{ text }}?"}, {"role": "assistant", "content": "{{ answer }}"}]
    params = {"steps": steps, "messages": turns}
    return {"generator": "template", "seeds": str(seeds), "params": params, **more}


DUPLICATES = {"name": "duplicates", "of": "question"}


def questions(folder: Path, what: str = "records") -> list[str]:
    return [row["messages"][0]["content"] for row in pq.read_table(folder / what).to_pylist()]


def test_what_they_remove_is_a_reject_of_the_run(tmp_path: Path) -> None:
    summary = run_scripted(config(tmp_path, judges=[DUPLICATES]), tmp_path / "run")
    assert summary["tasks"] == 200 == summary["accepted"] + summary["rejected"]
    assert summary["by_reason"] == {"run/duplicates": 67} and summary["records"] == 133
    rows = pq.read_table(tmp_path / "run" / "rejects").to_pylist()
    assert {(row["status"], row["stage"], row["reason"]) for row in rows} == {("rejected", "run", "duplicates")}
    verdicts = pq.read_table(tmp_path / "run" / "records")["verdicts"].to_pylist()
    assert all([(v["name"], v["passed"]) for v in row] == [("duplicates", True)] for row in verdicts)
    (tmp_path / "run" / "summary.json").unlink()
    refresh(tmp_path / "run")  # without the plan: from the ledger and the config
    assert orjson.loads((tmp_path / "run" / "summary.json").read_bytes())["by_reason"] == {"run/duplicates": 67}


def test_a_run_goes_on_until_enough_survive(tmp_path: Path) -> None:
    outliers = {"name": "outliers", "of": ["answer"], "by": [], "low": 0, "high": 80, "min_group": 10}
    wanted = config(tmp_path, judges=[DUPLICATES, outliers], samples=40)
    found = []
    for turn in range(3):
        summary = run_scripted(wanted, tmp_path / f"run{turn}", ScriptedModel(shuffle=True))
        assert summary["records"] == 40 and summary["by_reason"]["run/duplicates"] > 10
        found.append((questions(tmp_path / f"run{turn}"), summary["by_reason"], summary["tasks"]))
    assert found[0] == found[1] == found[2]
    distinct = [f"What is {n}?" for n in range(200) if n % 3 != 1]
    assert found[0][0] == [question for question in distinct if question in found[0][0]]


def test_more_samples_keep_the_first_ones(tmp_path: Path) -> None:
    run_scripted(config(tmp_path, judges=[DUPLICATES], samples=20), tmp_path / "run")
    few = questions(tmp_path / "run")
    summary = run_scripted(config(tmp_path, judges=[DUPLICATES], samples=50), tmp_path / "run")
    assert summary["records"] == 50 and questions(tmp_path / "run")[:20] == few


def test_a_shadow_removes_nothing_and_too_few_are_said(tmp_path: Path) -> None:
    shadow = {**DUPLICATES, "mode": "shadow"}
    summary = run_scripted(config(tmp_path, judges=[shadow]), tmp_path / "shadow")
    assert summary["records"] == 200 and summary["verdicts"]["duplicates"]["failed"] == 67
    with pytest.raises(TooFewRecords, match=r"133 of 150 records.*run/duplicates 67"):
        run_scripted(config(tmp_path, judges=[DUPLICATES], samples=150), tmp_path / "few")
