"""The judge `turns`: every turn of the assistant is graded with what came before it, and the worst one decides."""

from pathlib import Path
from typing import Any

from gristmill.testing import ScriptedModel, judge_scripted
from schemas import FunctionSpec, JsonObject, Record, Tool, assistant, user
from schemas import tool as result
from tests.rule_driven import calling

TOOL = Tool(
    function=FunctionSpec(name="book", parameters={"type": "object", "properties": {"day": {"type": "string"}}})
)


def conversation(last: str) -> Record:
    return Record(
        messages=[user("Book it."), assistant("Which day?"), user("Monday."), calling([("book", {"day": "Monday"})], 0),
                  result("{}", "call_0"), assistant(last)],
        tools=[TOOL],
    )  # fmt: skip


def critic(role: str, request: JsonObject) -> Any:
    messages: Any = request["messages"]
    good = "HORRIBLE" not in messages[0]["content"]
    return {name: {"reason": "as it reads", "score": 4 if good else 1} for name in ("choice", "arguments")}


def test_each_turn_is_graded_with_what_came_before(tmp_path: Path) -> None:
    model = ScriptedModel(critic)
    records = [conversation("Done."), conversation("HORRIBLE")]
    good, bad = judge_scripted([{"name": "turns"}], records, tmp_path, model)
    assert good.status == "accepted" and good.verdicts["turns"].score == 4
    assert [good.verdicts[f"turns.turn{n}"].passed for n in (1, 2, 3)] == [True, True, True]
    assert bad.fault == "turns/failed" and bad.verdicts["turns"].score == 3
    assert bad.verdicts["turns"].reason.startswith("turn3 1: ")
    assert bad.verdicts["turns.turn2"].passed and not bad.verdicts["turns.turn3"].passed
    sent: list[Any] = [request["messages"] for _, request in model.calls]
    prompts = [messages[0]["content"] for messages in sent]
    assert sum("Monday." in prompt for prompt in prompts) == 4 and sum("[tool]" in prompt for prompt in prompts) == 2


def test_records_without_the_assistant_and_long_ones(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    silent = Record(messages=[user("Anybody?")])
    (undecided,) = judge_scripted([{"name": "turns"}], [silent], tmp_path / "a", ScriptedModel(critic))
    assert undecided.fault == "turns/undecided"
    model = ScriptedModel(critic)
    (short,) = judge_scripted([{"name": "turns", "at_most": 2}], [conversation("HORRIBLE")], tmp_path / "b", model)
    assert short.status == "accepted" and len(model.calls) == 2
