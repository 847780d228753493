"""new_plugin keeps the contract of generators, its losses have names, and its judge measures what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from gristmill.commands.show import example_records
from gristmill.testing import ScriptedModel, check_generator, judge_scripted, run_scripted
from schemas import Record, assistant, user

JUDGES = [{"name": "new_plugin_readable"}]
EASY = "Warm air goes up. Cold air comes in. That is why the wind blows."
HARD = "Atmospheric circulation originates predominantly from differential insolation, notwithstanding topography."


def model(explanation: str = EASY, question: str = "Why is there {concept}, and who found out?") -> ScriptedModel:
    """A writer that asks `question`, and a solver that gives `explanation`."""

    def script(role: str, request: Any) -> Any:
        if role == "solver":
            return explanation
        (concept,) = re.findall(r'the words "(.*?)"', request["messages"][0]["content"])
        return {"question": question.format(concept=concept)}

    return ScriptedModel(script)


def config(**more: Any) -> dict[str, Any]:
    return {"generator": "new_plugin", "tasks": 12, "judges": JUDGES, **more}


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    summary = check_generator(config(), tmp_path, model())
    assert (summary["accepted"], summary["by_reason"]) == (12, {})


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (model(question="Why is the sky blue?"), "question/off_topic"),
        (model(question="?"), "llm/unparseable"),
        (model(explanation=HARD), "new_plugin_readable/failed"),
    ],
)
def test_each_loss_has_a_name(answers: ScriptedModel, reason: str, tmp_path: Path) -> None:
    assert run_scripted(config(), tmp_path / "run", answers)["by_reason"] == {reason: 12}


def test_a_taxonomy_of_your_own(tmp_path: Path) -> None:
    taxonomy = tmp_path / "mine.yaml"
    taxonomy.write_text("concepts: {music: [rhythm, pitch]}\nreaders: {a singer: 9}\noccasions: [on stage, at home]\n")
    summary = run_scripted(config(params={"taxonomy": str(taxonomy)}), tmp_path / "run", model())
    assert summary["tasks"] == 4 == summary["accepted"], "each of its four points once"


def test_the_judge_measures_the_grade(tmp_path: Path) -> None:
    asked = [user("Where does wind come from?")]
    easy, hard = (Record(messages=[*asked, assistant(text)], metadata={"grade": 5}) for text in (EASY, HARD))
    foreign = Record(messages=[*asked, assistant(EASY)])
    found = judge_scripted(JUDGES, [easy, hard, foreign], tmp_path)
    assert [one.status for one in found] == ["accepted", "rejected", "rejected"]
    assert found[2].fault == "new_plugin_readable/undecided"
    assert "grade 33.3 for a reader of grade 5" in found[1].detail


def test_the_examples_pass_the_judge(tmp_path: Path) -> None:
    examples = [Record.model_validate(row) for row in example_records("new_plugin")]
    assert len(examples) == 3
    for example, found in zip(examples, judge_scripted(JUDGES, examples, tmp_path), strict=True):
        assert found.status == "accepted" and list(found.verdicts.values()) == example.verdicts
