"""`gristmill judge-bench`: figures that can be worked out by hand, and the command on a file of one's own."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.errors import ConfigError
from gristmill.testing import Faults, FaultServer, ScriptedModel
from judges.bench.command import BenchKeys, bench
from judges.bench.figures import Decision, attacks, calibration, figures, thresholds
from schemas import JsonObject
from tests.conftest import CLI


def decided(right: bool, passed: bool | None, score: float | None = None, **more: Any) -> Decision:
    return Decision(right=right, passed=passed, score=score, **more)


def test_undecided_is_no_accept() -> None:
    found = figures(
        [decided(True, True)] * 6 + [decided(True, None)] * 2 + [decided(False, True)] * 2 + [decided(False, None)] * 2,
        precision=0.9,
    )
    assert (found["n"], found["undecided"]) == (12, 4)
    assert found["precision"][0] == 0.75 and found["recall"][0] == 0.75
    assert found["agreement"][0] == pytest.approx(8 / 12, abs=1e-4)
    low, high = found["precision"][1:]
    assert low < 0.75 < high


def test_a_larger_sample_narrows_the_interval() -> None:
    few = [decided(True, True)] * 9 + [decided(False, True)]
    wide, narrow = (figures(few * times, precision=0.9)["precision"] for times in (1, 40))
    assert wide[0] == narrow[0] == 0.9 and narrow[2] - narrow[1] < (wide[2] - wide[1]) / 3


def test_the_lowest_threshold_that_reaches_the_wanted_precision_is_suggested() -> None:
    scored = [(1, False), (2, False), (2, True), (3, True), (3, True), (3, False), (4, True), (4, True)]
    decisions = [decided(right, score >= 3, score) for score, right in scored]
    assert [point["accepted"] for point in thresholds(decisions)] == [8, 7, 5, 2]
    assert figures(decisions, precision=0.8)["suggested"]["score"] == 3
    assert figures(decisions, precision=0.9)["suggested"] == {"score": 4, "precision": 1, "recall": 0.4, "accepted": 2}


def test_calibration_has_a_bin_for_each_score_or_ten() -> None:
    few = [decided(score > 2, None, score) for score in (1, 2, 3, 4) for _ in range(5)]
    assert [(point["score"], point["n"], point["right"]) for point in calibration(few)] == [
        (1, 5, 0), (2, 5, 0), (3, 5, 1), (4, 5, 1)
    ]  # fmt: skip
    many = [decided(True, None, place / 100) for place in range(100)]
    assert [point["n"] for point in calibration(many)] == [10] * 10


def test_a_score_that_grows_with_length_shows() -> None:
    decisions = [decided(False, False, place, length=2**place) for place in range(12)]
    bias = figures(decisions, precision=0.9)["length_bias"]
    assert bias["wrong"] > 0.99 and bias["right"] is None


def test_attacks_are_compared_with_what_they_were_made_from() -> None:
    decisions = [
        decided(False, False, 1, id="a"),
        decided(False, True, 4, attack="verbose", of="a"),
        decided(False, False, 2, attack="verbose", of="a"),
        decided(True, False, 1, attack="terse", of="missing"),
    ]
    assert attacks(decisions) == {
        "terse": {"n": 1, "shift": None, "wrong_accepted": 0, "wrong": 0, "right_rejected": 1},
        "verbose": {"n": 2, "shift": 2.0, "wrong_accepted": 1, "wrong": 2, "right_rejected": 0},
    }
    assert figures(decisions, precision=0.9)["n"] == 1


def row(question: str, answer: str, label: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "label": label}


ROWS = [
    row(f"{a} + {b}?", str(a + b + (a % 2)), {"right": a % 2 == 0, "category": "sum"}) for a in range(8) for b in (1, 2)
]


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


def knows_sums(role: str, request: JsonObject) -> dict[str, Any]:
    """Right about every sum but those with 2."""
    messages: Any = request["messages"]
    text = messages[-1]["content"]
    passed = any(f"{a} + {b}?" in text for a in (0, 2, 4, 6) for b in (1, 2)) and "+ 2?" not in text
    shape: Any = request["response_format"]
    return {
        name: {"reason": "counted", "score": 5 if passed else 1}
        for name in shape["json_schema"]["schema"]["properties"]
    }


CRITERIA = {"name": "sums", "judge": "rubric", "criteria": "The sum is right.", "min_score": 3}
MODELS = {"judge": {"endpoint": "http://x.invalid/v1", "model": "m"}}


def test_gates_are_shadows_and_every_judge_sees_every_record(tmp_path: Path) -> None:
    keys = BenchKeys(labelled=[write(tmp_path, ROWS)], precision=0.9)
    never = {"name": "language", "expected": ["de"]}
    panel = {"name": "both", "members": [never, {"name": "refusal"}]}
    content = {"judges": [never, panel, {"name": "refusal"}], "models": {}}
    measured = bench(keys, content, tmp_path / "run", "test", quiet=True)
    assert {name: one["n"] for name, one in measured.items()} == dict.fromkeys(
        ["language", "both.language", "both.refusal", "both", "refusal"], len(ROWS)
    )
    again = ScriptedModel()
    assert bench(keys, content, tmp_path / "run", "test", quiet=True, transport=again) == measured and not again.calls


def test_a_scripted_judge_has_the_figures_that_it_earns(tmp_path: Path) -> None:
    keys = BenchKeys(labelled=[write(tmp_path, ROWS)], precision=0.9)
    model = ScriptedModel(knows_sums)
    found = bench(keys, {"judges": [CRITERIA], "models": MODELS}, tmp_path / "run", "t", quiet=True, transport=model)
    sums = found["sums"]
    assert list(found) == ["sums.quality", "sums"]  # a dimension of the rubric, then the verdict
    assert (sums["precision"][0], sums["recall"][0]) == (1, 0.5)
    assert sums["by_category"] == {"sum": {"right accepted": 4, "right rejected": 4, "wrong rejected": 8}}
    page = (tmp_path / "run" / "bench.html").read_text()
    assert page.count("<svg") == 4 and "1.00 [1.00 1.00]" in page and "right accepted" in page
    assert json.loads((tmp_path / "run" / "bench.json").read_text()) == found


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"messages": ROWS[0]["messages"]}], "line:1: no label"),
        ([row("?", "!", "good")], "no label"),
        ([row("?", "!", {"right": True, "colour": "red"})], "colour"),
    ],
)
def test_a_row_without_a_label_is_named(rows: list[dict[str, Any]], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        bench(BenchKeys(labelled=[write(tmp_path, rows)]), {"judges": [CRITERIA]}, tmp_path / "run", "t", quiet=True)


def test_an_unknown_set_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a file nor one of the bundled sets"):
        bench(BenchKeys(labelled=["nonsense"]), {"judges": [CRITERIA]}, tmp_path / "run", "t", quiet=True)


def test_the_command_resumes_after_a_budget(tmp_path: Path, cli: CLI) -> None:
    write(tmp_path, ROWS)
    with FaultServer(Faults(), script=knows_sums) as server:
        config = {
            "labelled": ["mine.jsonl"],
            "judges": [CRITERIA],
            "models": {"judge": {"endpoint": server.url, "model": "m", "max_tokens": 20, "price": {"output": 1000}}},
            "budget": {"usd": 0.1},
        }
        (tmp_path / "b.yaml").write_text(yaml.safe_dump(config))
        stopped = cli("judge-bench", "b.yaml", "--quiet")
        assert stopped.returncode == 3, stopped.stderr
        done = cli("judge-bench", "b.yaml", "budget.usd=100", "--quiet")
        assert done.returncode == 0, done.stderr
        assert max(server.answered.values()) == 1 and len(server.answered) == len(ROWS)
    assert "sums" in done.stdout and "1.00 [1.00 1.00]" in done.stdout
    assert Counter(path.name for path in (tmp_path / "runs" / "b").iterdir())["bench.html"] == 1
