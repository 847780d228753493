"""The rubric judge: below the bar fails, no verdict is undecided, and the embedded model never gates."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gristmill.commands.generate import run_plan
from gristmill.plan import make_plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel, run_scripted
from schemas.run_config import RunConfig


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "seeds.jsonl").write_text("".join(f'{{"text": "{word}"}}\n' for word in ("good", "bad", "vague")))
    turns = [{"role": "user", "content": "Say {{ text }}"}, {"role": "assistant", "content": "{{ text }}"}]
    return {
        "generator": "template",
        "seeds": str(tmp_path / "seeds.jsonl"),
        "params": {"messages": turns},
        "judges": [{"name": "rubric"}],
    }


def critic(role: str, request: Any) -> Any:
    text = request["messages"][0]["content"]
    if "Say vague" in text:
        return "I would rather not say."
    score = 5 if "Say good" in text else 2
    names = ("correctness", "completeness", "grounding", "clarity")
    return {name: {"reason": "as it reads", "score": score} for name in names}


def test_a_gate_decides(config: dict[str, Any], tmp_path: Path) -> None:
    model = ScriptedModel(critic)
    summary = run_scripted(config, tmp_path / "run", model)
    assert summary["accepted"] == 1
    assert summary["by_reason"] == {"rubric/failed": 1, "rubric/undecided": 1}
    assert len(model.calls) == 1 + 1 + 4  # an unparseable verdict is asked for three more times
    (row,) = pq.read_table(tmp_path / "run" / "records").to_pylist()
    *parts, verdict = row["verdicts"]
    assert [part["name"] for part in parts] == [
        "rubric.correctness", "rubric.completeness", "rubric.grounding", "rubric.clarity",
    ]  # fmt: skip
    assert verdict["passed"] is True and verdict["score"] == 5 and verdict["model"] == "scripted"


def test_a_shadow_is_recorded_only(config: dict[str, Any], tmp_path: Path) -> None:
    config["judges"] = [{"name": "rubric", "mode": "shadow", "min_score": 3}]
    summary = run_scripted(config, tmp_path / "run", ScriptedModel(critic))
    assert summary["accepted"] == 3
    assert summary["verdicts"]["rubric"] == {"passed": 1, "failed": 1, "undecided": 1}
    assert summary["verdicts"]["rubric.clarity"] == {"passed": 1, "failed": 1, "undecided": 0}


def test_the_embedded_model_never_gates(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded = {**config, "models": {"judge": {"endpoint": "embedded"}}}
    plan = make_plan(RunConfig.model_validate(embedded))
    summary = run_plan(plan, RunFolder(tmp_path / "run"), transport=ScriptedModel(critic), quiet=True)
    assert summary["accepted"] == 3
    assert "asks the embedded model, so it is shadow" in capsys.readouterr().err
    embedded["judges"] = [{"name": "rubric", "insist": True}]
    plan = make_plan(RunConfig.model_validate(embedded))
    summary = run_plan(plan, RunFolder(tmp_path / "insist"), transport=ScriptedModel(critic), quiet=True)
    assert summary["accepted"] == 1
    assert "judges no better than chance" in capsys.readouterr().err
