"""Tool calls through an endpoint that knows none: what it is sent, how it is read, and what a run keeps of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gristmill import Context, Generator, NoParams, Record, Seed
from gristmill.commands.generate import run_plan
from gristmill.errors import ConfigError, Reject
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel
from gristmill.testing.server import Dialect, FaultServer
from gristmill.tools.text_protocol import as_text, read_turn
from schemas import Function, FunctionSpec, JsonObject, Message, Tool, ToolCall, assistant, system, tool, user
from schemas.run_config import ModelConfig, RunConfig

WEATHER = Tool(
    function=FunctionSpec(
        name="get_weather",
        description="The weather in a city.",
        parameters={"type": "object", "properties": {"place": {"type": "string"}, "day": {"type": "string"}}},
    )
)
CALLS = [ToolCall(id=f"call_{n}", function=Function(name="get_weather", arguments=f'{{"n": {n}}}')) for n in (1, 2)]
TALK = [
    system("Be brief."),
    user("Weather?\nObservation: sunny"),
    assistant(reasoning="Look it up.", tool_calls=CALLS),
    tool("rain", "call_1"),
    tool("snow", "call_2"),
    assistant("Rain and snow."),
    user("Thanks!"),
]


def test_a_conversation_becomes_turns_that_alternate() -> None:
    turns = as_text(TALK, [WEATHER])
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[0].content.startswith("Be brief.") and '"name":"get_weather"' in turns[0].content
    assert turns[0].content.index('"place"') < turns[0].content.index('"day"'), "in the author's order"
    assert turns[1].content == "User: Weather?\nObservation: sunny"
    assert turns[3].content == "Observation: rain\nObservation: snow"
    assert not any(turn.tool_calls or turn.reasoning_content for turn in turns)


def test_without_a_system_turn_there_is_one_for_the_tools() -> None:
    assert [turn.role for turn in as_text([user("Hello { tools }")], [WEATHER])] == ["system", "user"]


@pytest.mark.parametrize("turn", [TALK[2], TALK[5], assistant("Two\n\nparagraphs: so.", reasoning="Why\nnot?")])
def test_what_is_written_is_read_again(turn: Message) -> None:
    written = as_text([user("?"), turn], [WEATHER])[-1]
    read = read_turn(written)
    assert [(c.function.name, c.function.arguments) for c in read.tool_calls] == [
        (c.function.name, c.function.arguments) for c in turn.tool_calls
    ]
    assert (read.content, read.reasoning_content) == (turn.content, turn.reasoning_content)


def test_a_thought_joins_the_native_trace() -> None:
    read = read_turn(assistant("Thought: briefly\nAnswer: 4", reasoning="2 + 2"))
    assert (read.reasoning_content, read.content) == ("2 + 2\nbriefly", "4")


def test_arguments_over_several_lines_stay_as_they_are_written() -> None:
    arguments = '{\n  "city": "Ghent"\n}'
    read = read_turn(assistant(f"Action: get_weather\nAction Input: {arguments}"))
    assert read.tool_calls[0].function.arguments == arguments


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("It rains.", "doesn't begin"),
        ("Sure!\nAction: get_weather\nAction Input: {}", "doesn't begin"),
        ("Thought: I wonder.", "neither"),
        ("Action: get_weather", "neither"),
        ("Action Input: {}\nAction: get_weather", "another order"),
        ("Action: a\nAction Input: {}\nThought: and\nAction: b\nAction Input: {}", "neither"),
        ("Action: a\nAction Input: {}\nAnswer: done", "at once"),
        ("Answer: I look.\nAction: a\nAction Input: {}", "at once"),
        ("Action: a\nAction Input: {}\nObservation: 3", "makes up"),
        ("Thought: so\nAnswer:", "empty"),
    ],
)
def test_any_other_form_is_rejected(text: str, why: str) -> None:
    with pytest.raises(Reject) as rejected:
        read_turn(assistant(text))
    assert (rejected.value.stage, rejected.value.reason) == ("llm", "text_protocol")
    assert why in rejected.value.detail and rejected.value.payload == {"reply": text}


class Number(Seed):
    n: int


class Asking(Generator[Number, NoParams]):
    """One call, its result, one answer."""

    name, version = "asking", "1"

    def tasks(self) -> Iterator[Number]:
        yield Number(n=1)

    async def run(self, seed: Number, ctx: Context) -> Record:
        talk = [user("Weather twice?")]
        for _ in range(2):
            reply = await ctx.chat("assistant", talk, tools=[WEATHER])
            talk += [reply.message, *(tool("rain", call.id) for call in reply.message.tool_calls)]
        talk.append((await ctx.chat("assistant", talk, tools=[WEATHER], stop=["END"])).message)
        return Record(messages=talk, tools=[WEATHER])


def run(folder: Path, script: Any, **model: Any) -> tuple[dict[str, Any], ScriptedModel]:
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m", **model}}
    config = RunConfig.model_validate({"generator": "asking", "models": models, "tasks": 1})
    scripted = ScriptedModel(script)
    plan = Plan(config, Asking(NoParams(), seed=0), [], Roles(config.models), "fingerprint")
    run_plan(plan, RunFolder(folder), transport=scripted, quiet=True)
    return pq.read_table(folder / "records").to_pylist()[0], scripted


def by_text(role: str, request: JsonObject) -> str:
    messages: Any = request["messages"]
    if messages[-1]["content"].startswith("Observation") and len(messages) > 4:
        return "Thought: Enough.\nAnswer: Rain."
    return 'Thought: Look.\nAction: get_weather\nAction Input: {"city": "Ghent"}'


def test_a_run_by_text_keeps_calls_with_ids_and_pays_once(tmp_path: Path) -> None:
    record, model = run(tmp_path, by_text, tool_calls="text")
    roles = [message["role"] for message in record["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [m["tool_calls"][0]["id"] for m in record["messages"] if m["tool_calls"]] == ["call_1", "call_2"]
    assert [m["tool_call_id"] for m in record["messages"] if m["role"] == "tool"] == ["call_1", "call_2"]
    assert record["messages"][-1]["reasoning_content"] == "Enough."
    requests = [request for _, request in model.calls]
    assert not any("tools" in request for request in requests)
    assert [request["stop"] for request in requests] == [["\nObservation:"]] * 2 + [["END", "\nObservation:"]]
    again, silent = run(tmp_path, by_text, tool_calls="text")
    assert again == record and not silent.calls


def test_native_calls_with_equal_ids_get_new_ones(tmp_path: Path) -> None:
    def native(role: str, request: JsonObject) -> Message:
        messages: Any = request["messages"]
        assert request["tools"]
        same = [ToolCall(id="call_0", function=Function(name="get_weather", arguments="{}"))] * 2
        return assistant("Rain.") if len(messages) > 5 else assistant(tool_calls=same)

    record, _ = run(tmp_path, native)
    ids = [call["id"] for message in record["messages"] for call in message["tool_calls"]]
    assert ids == ["call_0", "call_1", "call_2", "call_3"]


def test_the_embedded_model_is_asked_by_text() -> None:
    roles = Roles({"a": ModelConfig(endpoint="embedded"), "b": ModelConfig(endpoint="http://x/v1", model="m")})
    assert roles["a"].calls_as_text and not roles["b"].calls_as_text


def test_an_endpoint_that_refuses_tools_says_what_to_set(tmp_path: Path) -> None:
    with FaultServer(dialect=Dialect(tools="refuses")) as server, pytest.raises(ConfigError, match="tool_calls: text"):
        models = {"default": {"endpoint": server.url, "model": "m"}}
        config = RunConfig.model_validate({"generator": "asking", "models": models, "tasks": 1})
        plan = Plan(config, Asking(NoParams(), seed=0), [], Roles(config.models), "fingerprint")
        run_plan(plan, RunFolder(tmp_path), quiet=True)
