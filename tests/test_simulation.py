"""Simulated conversations: who sees what, every way in which one is lost, and tools that fail."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from gristmill import Context, Generator, Record, Reject, Seed
from gristmill.commands.generate import run_plan
from gristmill.llm import Reply, Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel
from gristmill.tools.checks import check_conversation
from gristmill.tools.outages import Outages, Unreliable
from gristmill.tools.simulation import Environment, Limits, UserSide, assistant_turn, converse, spoken
from schemas import (
    Config,
    Function,
    FunctionSpec,
    JsonObject,
    Message,
    Tool,
    ToolCall,
    Usage,
    assistant,
    system,
    tool,
    user,
)
from schemas.run_config import ModelConfig, RunConfig

COUNT = Tool(
    function=FunctionSpec(
        name="count",
        description="Counts the boxes of a shelf.",
        parameters={"type": "object", "properties": {"shelf": {"type": "integer"}}, "required": ["shelf"]},
    )
)
GOAL = "Learn how many boxes are on shelf 7. SECRET-GOAL"


class Shelves:
    """The state is never told, only counts of it."""

    def __init__(self, result: str | None = None) -> None:
        self.state = {"7": 12, "note": "SECRET-STATE"}
        self.result = result
        self.called = 0

    @property
    def tools(self) -> list[Tool]:
        return [COUNT]

    async def call(self, call: ToolCall, ctx: Context) -> str:
        self.called += 1
        shelf = orjson.loads(call.function.arguments)["shelf"]
        return self.result or orjson.dumps({"boxes": self.state.get(str(shelf), 0), "at": self.called}).decode()


class Number(Seed):
    n: int = 0


class Params(Config):
    limits: Limits = Limits()
    outages: Outages = Outages()
    once: bool = False
    result: str | None = None
    opening: str = ""


class Talks(Generator[Number, Params]):
    name = "talks"

    def tasks(self) -> Iterator[Number]:
        yield Number()

    async def run(self, seed: Number, ctx: Context) -> Record:
        environment: Environment = Unreliable(Shelves(self.params.result), self.params.outages)
        side = UserSide("a storekeeper", GOAL, opening=self.params.opening)
        told = await converse(
            [system("You keep shelves.")], side, environment, ctx, self.params.limits, once=self.params.once
        )
        turns: Any = told.turn_verdicts()
        return Record(messages=told.messages, tools=[COUNT], metadata={"turns": turns, "ended": told.ended})


def calling(*shelves: Any, content: str = "", identity: str = "c", name: str = "count") -> Message:
    calls = [
        ToolCall(
            id=f"{identity}{n}",
            function=Function(name=name, arguments=s if isinstance(s, str) else orjson.dumps({"shelf": s}).decode()),
        )
        for n, s in enumerate(shelves)
    ]
    return assistant(content, "They want a number.", calls)


class Script:
    """The user asks and is content with the first answer; the assistant says these messages in order."""

    def __init__(self, *says: Any, user: Any = None) -> None:
        self.says = list(says)
        self.user = user or [{"done": False, "text": "How full is shelf 7?"}, {"done": True, "text": ""}]

    def __call__(self, role: str, request: JsonObject) -> Any:
        lines = self.user if role == "user" else self.says
        return lines.pop(0) if len(lines) > 1 else lines[0]


def play(folder: Path, script: Any, **params: Any) -> tuple[dict[str, Any], ScriptedModel]:
    """The one record's row, or the one reject's; and the model with what it was asked."""
    config = RunConfig(generator="talks", tasks=1, max_failed=1.0)
    roles = Roles({"default": ModelConfig(endpoint="http://scripted.invalid/v1", model="scripted")})
    plan = Plan(config, Talks(Params.model_validate(params)), [], roles, "fingerprint")
    model = ScriptedModel(script)
    run_plan(plan, RunFolder(folder), transport=model, quiet=True)
    rows = pq.read_table(folder / "records").to_pylist() or pq.read_table(folder / "rejects").to_pylist()
    return rows[0], model


def fault(folder: Path, script: Any, **params: Any) -> str:
    row, _ = play(folder, script, **params)
    assert "stage" in row, "a record was made"
    return f"{row['stage']}/{row['reason']}"


def test_a_conversation_and_who_sees_what_of_it(tmp_path: Path) -> None:
    row, model = play(tmp_path, Script(calling(7), assistant("Twelve boxes.", "The result says 12.")))
    record = Record(messages=[Message(**{**m, "tool_calls": m["tool_calls"] or []}) for m in row["messages"]])
    assert [m.role for m in record.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert check_conversation(record.messages, [COUNT]) == []
    asked = {role: [request for name, request in model.calls if name == role] for role in ("user", "assistant")}
    for request in asked["assistant"]:
        seen: Any = request["messages"]
        assert "SECRET" not in str(request) and "storekeeper" not in str(request)
        ours = [message.to_openai() for message in record.messages[: len(seen)]]
        assert seen == ours, "the supervised turn is the reply to exactly the record's messages"
    for request in asked["user"]:
        text = str(request)
        assert "SECRET-GOAL" in text and "SECRET-STATE" not in text
        for hidden in ("You keep shelves", '"boxes"', "tool_calls", "call_", "They want a number", "Counts the boxes"):
            assert hidden not in text
    assert "Twelve boxes." in str(asked["user"][1])


def test_spoken_hides_calls_results_and_traces() -> None:
    talk = [system("s"), user("a"), calling(7), tool("{}", "c0"), calling(7, content="wait"), assistant("b", "trace")]
    assert spoken(talk) == [user("a"), assistant("wait"), assistant("b")]


@pytest.mark.parametrize(
    ("says", "params", "reason"),
    [
        ([calling(7, name="cuont")], {}, "tools/unknown_tool"),
        ([calling("{'shelf': 7}")], {}, "tools/bad_json"),
        ([calling('{"shelf": "7"}')], {}, "tools/wrong_type"),
        ([calling("{}")], {}, "tools/missing_argument"),
        ([calling('{"shelf": 7, "row": 1}')], {}, "tools/unknown_argument"),
        ([calling(7, content="One moment.")], {}, "assistant/speaks_and_calls"),
        ([calling(*range(50))], {}, "assistant/too_many_parallel"),
        ([calling(*range(6))], {"limits": {"calls": 5}}, "assistant/too_many_calls"),
        ([calling(7)], {"result": "full"}, "assistant/loop"),
        ([calling(7)], {"limits": {"steps": 4}}, "assistant/too_many_steps"),
        ([calling(7)], {"result": "x" * 100_000}, "tool/too_long"),
        ([assistant("Sure: count(shelf=7)")], {}, "assistant/call_in_text"),
        ([assistant('{"name": "count", "arguments": {"shelf": 7}}')], {}, "assistant/call_in_text"),
        ([assistant("<tool_call>count</tool_call>")], {}, "assistant/call_in_text"),
        ([Reply(assistant("ok"), "stop", Usage(input=40_000, output=9), "m")], {}, "assistant/too_long"),
        ([assistant("")], {}, "llm/no_answer"),
    ],
)
def test_every_way_to_lose_it_has_a_name(says: Any, params: Any, reason: str, tmp_path: Path) -> None:
    row, _ = play(tmp_path, Script(*says), **params)
    assert f"{row['stage']}/{row['reason']}" == reason
    messages = orjson.loads(row["payload"])["messages"]
    assert [message["role"] for message in messages[:2]] == ["system", "user"]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ([{"done": True, "text": ""}], "user/no_question"),
        ([{"done": False, "text": "Shelf 7?"}, {"done": False, "text": " "}], "user/no_answer"),
        ([{"done": False, "text": "Shelf 7?"}, {"done": False, "text": "shelf  7?"}], "user/repeats"),
        ([{"done": False, "text": f"And shelf {n}?"} for n in range(20)], "user/never_done"),
    ],
)
def test_users_that_cannot_be_played(says: Any, reason: str, tmp_path: Path) -> None:
    assert fault(tmp_path, Script(assistant("Twelve."), user=says), limits={"turns": 5}) == reason


def test_a_user_may_be_done_after_the_last_turn(tmp_path: Path) -> None:
    asks = [
        {"done": False, "text": "And shelf 1?"},
        {"done": False, "text": "And shelf 2?"},
        {"done": True, "text": ""},
    ]
    row, _ = play(tmp_path, Script(assistant("Twelve."), user=asks), limits={"turns": 2})
    assert orjson.loads(row["metadata"])["ended"] == "done"


def test_a_faulty_call_may_be_answered_so_that_recovery_is_learnt(tmp_path: Path) -> None:
    script = Script(calling('{"shelf": "7"}'), calling(7, identity="d"), assistant("Twelve."))
    row, _ = play(tmp_path, script, limits={"faulty": 1})
    results = [message["content"] for message in row["messages"] if message["role"] == "tool"]
    assert "not of type" in orjson.loads(results[0])["error"] and orjson.loads(results[1])["boxes"] == 12
    (turn,) = orjson.loads(row["metadata"])["turns"]
    assert turn["calls"] == 2 and turn["faults"] == ['wrong_type: count.shelf: "7" is not of type "integer"']


def test_ids_that_come_twice_are_replaced(tmp_path: Path) -> None:
    row, _ = play(tmp_path, Script(calling(7, 8), calling(9), calling(1, identity=""), assistant("Done.")))
    calls = [call["id"] for message in row["messages"] for call in message["tool_calls"] or []]
    answers = [message["tool_call_id"] for message in row["messages"] if message["role"] == "tool"]
    assert calls == answers and len(set(calls)) == 4 and calls[:2] == ["c0", "c1"]


def test_prose_that_only_looks_like_a_call_is_prose(tmp_path: Path) -> None:
    row, _ = play(tmp_path, Script(assistant("The count(s) went up; the count (all of it) is 12.")), once=True)
    assert orjson.loads(row["metadata"])["ended"] == "asked"


def test_the_user_may_have_a_fixed_opening(tmp_path: Path) -> None:
    row, model = play(tmp_path, Script(assistant("Twelve.")), once=True, opening="Shelf 7, how many?")
    assert row["messages"][1]["content"] == "Shelf 7, how many?" and model.count_by_role() == {"assistant": 1}


def test_tools_fail_by_share_and_never_twice_in_a_row(tmp_path: Path) -> None:
    says = [*(calling(7, identity=f"k{n}-") for n in range(30)), assistant("Done.")]
    row, _ = play(
        tmp_path, Script(*says), outages={"share": 0.5}, limits={"steps": 40, "calls": 60, "repeats": 30}, once=True
    )
    results = [orjson.loads(message["content"]) for message in row["messages"] if message["role"] == "tool"]
    failed = ["error" in result for result in results]
    assert 6 <= sum(failed) <= 15 and not any(a and b for a, b in itertools.pairwise(failed))
    assert max(result["at"] for result in results if "at" in result) == 30 - sum(failed), "a failed call does nothing"
    assert all(re.search("count", result["error"]["message"]) for result in results if "error" in result)


def test_a_reject_of_the_environment_passes_through(tmp_path: Path) -> None:
    class Broken(Shelves):
        async def call(self, call: ToolCall, ctx: Context) -> str:
            raise Reject("tool", "contradicts_state", "shelf 7 has moved")

    class Breaks(Talks):
        async def run(self, seed: Number, ctx: Context) -> Record:
            turn = await assistant_turn([user("?")], Broken(), ctx, Limits())
            return Record(messages=turn.messages)

    roles = Roles({"default": ModelConfig(endpoint="http://scripted.invalid/v1", model="scripted")})
    plan = Plan(RunConfig(generator="talks", tasks=1), Breaks(Params()), [], roles, "fingerprint")
    run_plan(plan, RunFolder(tmp_path), transport=ScriptedModel(Script(calling(7))), quiet=True)
    (row,) = pq.read_table(tmp_path / "rejects").to_pylist()
    assert row["reason"] == "contradicts_state" and len(orjson.loads(row["payload"])["messages"]) == 2
