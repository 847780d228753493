"""What the report says of judges: counts over all candidates, score distributions, agreement, close decisions."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gristmill import Record
from gristmill.quantiles import QuantileSketch
from gristmill.testing import ScriptedModel, judge_scripted
from gristmill.verdicts import VerdictSums
from schemas import JsonObject, assistant, user


def verdict(name: str, passed: bool | None, score: float | None = None) -> dict[str, Any]:
    return {"name": name, "passed": passed, "score": score, "reason": f"{name} says {passed}"}


def asked(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "a"}]


def test_agreement_is_between_siblings_and_beyond_chance() -> None:
    """Of ten candidates two judges agree on eight; a third always says yes, so nothing is beyond chance."""
    sums = VerdictSums()
    for n in range(10):
        one, other = n < 5, n < 5 if n not in (0, 9) else n >= 5
        panel = [verdict("p.one", one), verdict("p.other", other), verdict("p.yes", True), verdict("p", one)]
        sums.add("u", asked("q"), [verdict("p.try1.one", not one), *panel, verdict("top", None)])
    pairs = {tuple(pair["judges"]): pair for pair in sums.agreement()}
    assert set(pairs) == {("p.one", "p.other"), ("p.one", "p.yes"), ("p.other", "p.yes")}
    assert pairs["p.one", "p.other"] == {
        "judges": ["p.one", "p.other"], "n": 10, "agreement": 0.8, "kappa": pytest.approx(0.6),
    }  # fmt: skip
    assert pairs["p.one", "p.yes"]["kappa"] == 0
    assert sums.counts()["top"] == {"passed": 0, "failed": 0, "undecided": 10}


def test_close_decisions_are_the_nearest_on_both_sides() -> None:
    sums = VerdictSums()
    for n, score in enumerate([5.0, 2.9, 1.0, 3.0, 4.0, 2.0, 3.1, 2.8, 3.0, 3.0]):
        row = [verdict("rubric", score >= 3, score), verdict("rule", score >= 3, float(score >= 3))]
        sums.add(f"u{n}", asked(f"question {n}"), row)
    near = sums.near_threshold()
    assert [(one["score"], one["uuid"], one["passed"]) for one in near] == [
        (2.0, "u5", False), (2.8, "u7", False), (2.9, "u1", False), (3.0, "u3", True), (3.0, "u8", True),
        (3.0, "u9", True),
    ]  # fmt: skip
    assert {one["judge"] for one in near} == {"rubric"}, "a rule that says yes or no has no close decisions"
    assert near[2]["question"] == "question 1" and near[2]["reason"] == "rubric says False"


def test_scores_have_a_distribution_where_they_differ() -> None:
    sums = VerdictSums()
    for score in range(101):
        sums.add("u", asked("q"), [verdict("rubric", True, float(score)), verdict("same", True, 1.0)])
    (name, found), = sums.scores().items()  # fmt: skip
    assert name == "rubric" and found["n"] == 101 and found["mean"] == 50
    assert [found["p10"], found["p50"], found["p90"]] == pytest.approx([10, 50, 90], rel=0.01)
    assert sum(part["count"] for part in found["histogram"]) == 101 and len(found["histogram"]) == 10
    assert all(9 <= part["count"] <= 12 for part in found["histogram"])


def test_a_histogram_of_one_value() -> None:
    sketch = QuantileSketch()
    sketch.add(3)
    assert sum(part["count"] for part in sketch.histogram(4)) == 1


def test_the_report_and_the_summary_count_lost_candidates(tmp_path: Path) -> None:
    """Ten records, graded by two roles from 0 to 4; what fails the panel is counted like what passes."""

    def grade(role: str, request: JsonObject) -> Any:
        number = int(re.findall(r"question (\d)", str(request["messages"]))[-1])
        score = number % 5 if role == "one" else 4
        return {"quality": {"reason": f"<b>{number}</b>", "score": 1 + score}}

    models = {name: {"endpoint": "http://x.invalid/v1", "model": name} for name in ("one", "two")}
    records = [Record(messages=[user(f"question {n}"), assistant("a")]) for n in range(10)]
    panel = {"name": "rubric", "criteria": "good", "roles": ["one", "two"], "accept": "mean >= 4"}
    found = judge_scripted([panel], records, tmp_path, ScriptedModel(grade), models)
    summary = json.loads((tmp_path / "judged/summary.json").read_text())
    accepted = sum(one.status == "accepted" for one in found)
    assert accepted == 6 and summary["verdicts"]["rubric"] == {"passed": 6, "failed": 4, "undecided": 0}
    assert summary["scores"]["rubric.one"]["mean"] == 3 and "rubric.two" not in summary["scores"]
    pair = next(one for one in summary["agreement"] if one["judges"] == ["rubric.one", "rubric.two"])
    assert pair["n"] == 10 and pair["agreement"] == 0.4 and pair["kappa"] == 0
    near = [(one["score"], one["passed"]) for one in summary["near_threshold"]]
    assert near[2:4] == [(3.5, False), (4.0, True)] and len(near) == 6
    page = (tmp_path / "judged/report.html").read_text()
    assert "Agreement between judges" in page and "Close decisions" in page and "<b>3</b>" not in page
