"""What happens to a record before its judges: policies, panels, order, names, costs, warnings."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gristmill import Config, Record, RunJudge, Verdict
from gristmill.bench import make_judges, model_family
from gristmill.config import validate
from gristmill.errors import ConfigError
from gristmill.judging import Acceptance, NamedJudge, WholeRun
from gristmill.llm import Roles
from gristmill.testing import Judged, ScriptedModel, judge_scripted
from schemas import JsonObject, assistant, user
from schemas.run_config import RunConfig

MODELS = {
    name: {"endpoint": "http://x.invalid/v1", "model": name, "price": {"input": 10, "output": 10}}
    for name in ("first", "second", "third")
}


def said(score: int | None, reason: str = "seen") -> Any:
    """A rubric's reply by criteria; no verdict at all where the score is None."""
    return "I can't grade this." if score is None else {"quality": {"reason": reason, "score": score}}


def script(*scores: int | None, **by_role: int | None) -> ScriptedModel:
    """Replies in order, or always the same for a role."""
    left = list(scores)

    def answer(role: str, request: JsonObject) -> Any:
        return said(by_role[role] if role in by_role else left.pop(0))

    return ScriptedModel(answer)


MODELS_WITHOUT_REPAIRS = {name: {**model, "repairs": 0} for name, model in MODELS.items()}


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., Judged]:
    runs = count()

    def run(model: ScriptedModel, *judges: dict[str, Any]) -> Judged:
        folder = tmp_path / str(next(runs))
        folder.mkdir()
        record = Record(messages=[user("q"), assistant("a")])
        (found,) = judge_scripted(list(judges), [record], folder, model, MODELS_WITHOUT_REPAIRS)
        return found

    return run


RUBRIC = {"name": "rubric", "criteria": "good", "role": "first"}


@pytest.mark.parametrize(
    ("scores", "fault", "verdicts"),
    [
        ([5], "", {"rubric": True}),
        ([2], "rubric/failed", {"rubric": False}),
        ([None, 5], "", {"rubric.try1": None, "rubric": True}),
        ([None, 2], "rubric/failed", {"rubric.try1": None, "rubric": False}),
        ([None, None], "rubric/undecided", {"rubric.try1": None, "rubric": None}),
    ],
)
def test_retry_asks_once_more_and_only_the_undecided(
    judged: Callable[..., Judged], scores: list[int | None], fault: str, verdicts: dict[str, bool | None]
) -> None:
    model = script(*scores)
    found = judged(model, {**RUBRIC, "on_undecided": "retry"})
    decisions = {name: v.passed for name, v in found.verdicts.items() if not name.endswith(".quality")}
    assert found.fault == fault and decisions == verdicts and len(model.calls) == len(scores)


def test_a_second_judge_on_another_role_decides(judged: Callable[..., Judged]) -> None:
    found = judged(script(first=None, second=5), {**RUBRIC, "on_undecided": {"second": "second"}})
    assert found.status == "accepted" and found.verdicts["rubric"].model == "second"
    assert found.verdicts["rubric.try1"].passed is None
    found = judged(script(first=2, second=4), {**RUBRIC, "on_failed": {"second": "second"}})
    assert found.status == "accepted" and found.verdicts["rubric.try1"].score == 2
    found = judged(script(first=2, second=3), {**RUBRIC, "on_failed": {"second": "second"}})
    assert found.fault == "rubric/failed" and found.verdicts["rubric"].score == 3


def test_a_second_judge_may_be_another_one(judged: Callable[..., Judged]) -> None:
    found = judged(script(first=None), {**RUBRIC, "on_undecided": {"second": "tool_calls"}})
    assert found.status == "accepted" and found.verdicts["rubric"].reason == "0 calls, all valid"
    full = {"name": "rubric", "criteria": "good", "role": "third", "min_score": 2}
    assert judged(script(first=1, third=2), {**RUBRIC, "on_failed": {"second": full}}).status == "accepted"


def test_retry_then_second(judged: Callable[..., Judged]) -> None:
    """Both policies: the retry comes back with a failure, so the second judge is asked."""
    model = ScriptedModel(lambda role, request: said(5) if role == "second" else said([None, 2][len(model.calls) - 1]))
    found = judged(model, {**RUBRIC, "on_undecided": "retry", "on_failed": {"second": "second"}})
    names = [name for name in found.verdicts if not name.endswith("quality")]
    assert names == ["rubric.try1", "rubric.try2", "rubric"] and found.status == "accepted"


PANEL = {"name": "rubric", "criteria": "good", "roles": ["first", "second", "third"]}


@pytest.mark.parametrize(
    ("accept", "scores", "passed", "calls"),
    [
        ("all", (5, 5, 5), True, 3),
        ("all", (5, 2, 5), False, 2),
        ("all", (None, 5, 5), None, 1),
        ({"at_least": "2 of 3"}, (5, 5, 2), True, 2),
        ({"at_least": "2 of 3"}, (5, 2, 5), True, 3),
        ({"at_least": "2 of 3"}, (2, 2, 5), False, 2),
        ({"at_least": "2 of 3"}, (5, None, 2), None, 3),
        ("mean >= 3", (5, 2, 2), True, 3),
        ("mean >= 3", (4, 2, 2), False, 3),
        ("mean >= 3", (5, None, 5), None, 2),
    ],
)
def test_a_panel_stops_when_its_verdict_is_settled(
    judged: Callable[..., Judged], accept: Any, scores: tuple[int | None, ...], passed: bool | None, calls: int
) -> None:
    model = script(**dict(zip(("first", "second", "third"), scores, strict=True)))
    found = judged(model, {**PANEL, "accept": accept})
    assert found.verdicts["rubric"].passed is passed and len(model.calls) == calls
    assert (found.status == "accepted") is (passed is True)
    members = [name for name in found.verdicts if name.count(".") == 1]
    assert members == [f"rubric.{role}" for role in ("first", "second", "third")[:calls]]
    assert all(found.verdicts[name].cost > 0 for name in members) and found.verdicts["rubric"].cost == 0


def test_without_early_exit_every_member_is_asked(judged: Callable[..., Judged]) -> None:
    model = script(first=2, second=2, third=5)
    found = judged(model, {**PANEL, "accept": {"at_least": "2 of 3"}, "early_exit": False})
    assert len(model.calls) == 3 and found.fault == "rubric/failed"
    assert found.verdicts["rubric"].score == 3 and found.verdicts["rubric"].reason.startswith("1 of 3 passed; first: ")


def test_a_panel_of_different_judges_asks_the_cheap_ones_first(judged: Callable[..., Judged]) -> None:
    model = script(first=5)
    members = [RUBRIC, {"name": "calls", "judge": "tool_calls", "require_calls": True}]
    found = judged(model, {"name": "quality", "members": members})
    assert found.fault == "quality/failed" and not model.calls, "a rule has already found the fault"
    assert list(found.verdicts) == ["quality.calls", "quality"]


def test_a_members_policy_is_its_own(judged: Callable[..., Judged]) -> None:
    model = script(None, 5)
    found = judged(model, {"name": "quality", "members": [{**RUBRIC, "on_undecided": "retry"}]})
    assert [n for n in found.verdicts if not n.endswith(".quality")] == [
        "quality.rubric.try1", "quality.rubric", "quality",
    ]  # fmt: skip
    assert found.status == "accepted"


def test_a_panel_may_be_tried_again(judged: Callable[..., Judged]) -> None:
    model = script(None, 5, 5)
    members = [{**RUBRIC, "name": "one"}, {**RUBRIC, "name": "two"}]
    members = [{**member, "judge": "rubric"} for member in members]
    found = judged(model, {"name": "quality", "members": members, "on_undecided": "retry"})
    decided = {name: v.passed for name, v in found.verdicts.items() if not name.endswith(".quality")}
    assert decided == {
        "quality.try1.one": None, "quality.try1": None, "quality.one": True, "quality.two": True, "quality": True,
    }  # fmt: skip


def test_judges_come_in_the_configs_order_and_stop_at_the_first_fault(judged: Callable[..., Judged]) -> None:
    model = script(first=2, second=5)
    shadow = {**RUBRIC, "name": "watch", "judge": "rubric", "mode": "shadow"}
    found = judged(model, shadow, {**RUBRIC, "role": "second"}, {"name": "tool_calls", "require_calls": True})
    assert found.fault == "tool_calls/failed" and found.detail == "no_calls: no tool is called"
    assert [name for name in found.verdicts if "." not in name] == ["watch", "rubric", "tool_calls"]
    assert found.verdicts["watch"].passed is False, "a shadow is recorded, not obeyed"


def test_parts_are_recorded_under_their_judge(judged: Callable[..., Judged]) -> None:
    found = judged(script(first=5), RUBRIC)
    assert list(found.verdicts) == ["rubric.quality", "rubric"]
    assert found.verdicts["rubric.quality"].score == 5 and found.verdicts["rubric.quality"].reason == "seen"


def test_a_bug_of_a_judge_is_a_failure_of_the_task(judged: Callable[..., Judged], monkeypatch: Any) -> None:
    from judges.tool_calls import ToolCalls

    async def broken(*_: object) -> Verdict:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(ToolCalls, "judge", broken)
    found = judged(script(), {"name": "tool_calls"})
    assert found.status == "failed" and "tool_calls: ZeroDivisionError: oops (test_judging.py:" in found.detail


# --- what the config may say ---


def bench(*judges: dict[str, Any], models: dict[str, Any] | None = None, generating: bool = True) -> list[NamedJudge]:
    content = {"generator": "template", "judges": list(judges), "models": models or MODELS}
    config = validate(content, RunConfig, "run.yaml")
    return make_judges(config, Roles(config.models), generating=generating)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"name": "rubrik"}, "no judge is named 'rubrik'. Did you mean rubric?"),
        ({"name": "mine", "judge": "rubrik"}, "Did you mean rubric?"),
        ({**RUBRIC, "min_scor": 3}, "judges.rubric: unknown key min_scor. Did you mean min_score?"),
        ({**RUBRIC, "on_undecide": "retry"}, "unknown key on_undecide. Did you mean on_undecided?"),
        ({**RUBRIC, "on_undecided": "retri"}, "expected reject, retry or {second: a judge, or a role of the models}"),
        ({**RUBRIC, "on_failed": "retry"}, "expected reject or {second: a judge, or a role of the models}"),
        ({**RUBRIC, "on_failed": {"second": "thrid"}}, "neither a role of the models nor a judge. Did you mean third?"),
        ({**RUBRIC, "on_failed": {"secnd": "third"}}, "unknown key"),
        ({"name": "tool_calls", "on_undecided": "retry"}, "this judge asks no model, so it says the same again"),
        ({"name": "tool_calls", "role": "first"}, "judges.tool_calls: unknown key role. Did you mean roles?"),
        ({**PANEL, "accept": "most"}, "expected `all`, `mean >= 3` or `{at_least: 2 of 3}`"),
        ({**PANEL, "accept": {"at_least": "2 of 4"}}, "at_least 2 of 4 doesn't fit a panel of 3 members"),
        ({**PANEL, "roles": ["first", "first"]}, "a role is named twice"),
        ({**RUBRIC, "accept": "all"}, "`accept` and `early_exit` are for panels"),
        ({"name": "q", "members": [RUBRIC], "min_score": 3}, "a panel's parameters belong to its members"),
        ({"name": "q", "members": [RUBRIC, RUBRIC]}, "two judges are named rubric"),
        ({"name": "q", "members": [{**RUBRIC, "mode": "shadow"}]}, "every member of a panel counts"),
        ({"name": "q", "members": [{"name": "outliers"}]}, "a judge of whole runs stands alone"),
        ({"name": "outliers", "on_failed": {"second": "rubric"}}, "can't be followed by a second one"),
        ({"name": "outliers", "scope": "record"}, "this judge is asked once per run"),
        ({"name": "tool_calls", "scope": "run"}, "this judge is asked once per record"),
        ({**RUBRIC, "role": "fourth"}, "the role 'fourth' is asked; there is neither such a role nor a `default`"),
        ({"name": "rubric", "rubric": "text_to_sql/sq"}, "Did you mean text_to_sql/sql?"),
        ({"name": "rubric", "rubric": "trajectory"}, "Did you mean"),
        ({"name": "rubric", "role": "first", "at_least": {"corectness": 3}}, "Did you mean correctness?"),
        ({"name": "rubric", "role": "first", "min_score": 9}, "a scale of 1 to 5"),
        ({"name": "equivalence", "role": "first", "reference": "reference"}, "expected answer, conversation"),
        ({"name": "language", "expected": ["english"]}, "no such language: english"),
        ({"name": "moderation", "role": "first", "allow": ["violins"]}, "no such category: violins"),
    ],
)
def test_a_wrong_entry_is_a_sentence(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as told:
        bench(entry)
    assert sentence in str(told.value)


def test_two_entries_need_two_names() -> None:
    with pytest.raises(ConfigError, match="two judges are named rubric; give one another name"):
        bench(RUBRIC, RUBRIC)


def test_the_config_survives_its_file() -> None:
    """config.yaml holds the resolved config; reading it again gives the same."""
    content = {"generator": "template", "judges": [
        {**PANEL, "accept": {"at_least": "2 of 3"}, "on_failed": {"second": {**RUBRIC, "name": "appeal"}}},
        {"name": "outliers", "scope": "run", "low": 5},
    ]}  # fmt: skip
    config = validate(content, RunConfig, "run.yaml")
    assert validate(config.model_dump(mode="json", exclude_defaults=True), RunConfig, "again") == config


def test_warnings() -> None:
    kin = {"default": {"endpoint": "http://x/v1", "model": "Qwen/Qwen3-32B"},
           "judge": {"endpoint": "http://x/v1", "model": "qwen2.5-72b-instruct"}}  # fmt: skip
    (named,) = bench({"name": "rubric"}, models=kin)
    assert len(named.warnings) == 1 and "of one family with Qwen/Qwen3-32B" in named.warnings[0]
    assert not bench({"name": "rubric"}, models=kin, generating=False)[0].warnings, "nobody writes records here"
    other = {**kin, "judge": {"endpoint": "http://x/v1", "model": "mistral-large"}}
    assert not bench({"name": "rubric"}, models=other)[0].warnings
    late = bench(RUBRIC, {"name": "tool_calls"})[1]
    assert late.warnings == (
        "the judge tool_calls asks no model; placed before rubric it would save that one's calls.",
    )
    assert not bench({**RUBRIC, "mode": "shadow"}, {"name": "tool_calls"})[1].warnings
    embedded = {"judge": {"endpoint": "embedded"}, "first": MODELS["first"]}
    (panel,) = bench({"name": "rubric", "roles": ["judge", "first"]}, models=embedded)
    assert not panel.gate and "asks the embedded model, so it is shadow" in panel.warnings[0]


@pytest.mark.parametrize(
    ("model", "family"),
    [("openai/gpt-oss-120b", "gpt"), ("meta-llama/Llama-3.3-70B-Instruct", "llama"), ("Mixtral-8x22B", "mixtral"),
     ("house-model-7", "house-model-7")],
)  # fmt: skip
def test_families(model: str, family: str) -> None:
    assert model_family(model) == family


def test_acceptance_counts_missing_votes_as_undecided() -> None:
    yes, no, unsure = (Verdict(name="", passed=passed, score=1) for passed in (True, False, None))
    two = Acceptance("at_least 2 of 3", 3)
    assert two.outcome([yes]) is None and two.outcome([yes, yes]) is True and two.outcome([no, no]) is False
    assert not two.is_settled([yes, no]) and two.is_settled([unsure, no]) and two.outcome([unsure, no]) is None


# --- whole runs ---


class Halves(Config):
    above: bool = True


class Median(RunJudge[Halves]):
    """Keeps what is at least as long as the mean of all."""

    name = "median"

    def __init__(self, params: Halves) -> None:
        super().__init__(params)
        self.lengths: list[int] = []

    def observe(self, record: Record) -> None:
        self.lengths.append(len(record.messages[-1].content))

    def verdict(self, record: Record) -> Verdict:
        mean = sum(self.lengths) / len(self.lengths)
        return Verdict(name=self.name, passed=len(record.messages[-1].content) >= mean, reason=f"mean {mean:g}")


def test_whole_run_judges_see_all_and_then_decide() -> None:
    records = [Record(messages=[user("q"), assistant("a" * length)]) for length in (1, 2, 9)]
    judge = Median(Halves())
    named = [NamedJudge("long", judge), NamedJudge("watch", Median(Halves()), gate=False)]
    for _ in range(2):  # an export that is made again begins anew
        whole = WholeRun(named)
        for record in records:
            whole.observe(record)
        assert [whole.fault(record) for record in records] == [
            ("run", "long", "mean 4"), ("run", "long", "mean 4"), None,
        ]  # fmt: skip
        assert [verdict.name for verdict in records[2].verdicts] == ["long", "watch"]
    assert not judge.lengths and not WholeRun([])
