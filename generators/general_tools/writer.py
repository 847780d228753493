"""Scenarios that a model writes, for tools that come without goals, and what is checked of them before they are played.

    {"calls": [{"name": "track", "arguments": "{\\"parcel\\": \\"P7\\"}"}],
     "goal": "You want to know where parcel P7 is, which your sister sent on Monday.",
     "system": "You help at the counter of a post office.", "withheld": [], "world": "{\\"parcels\\": ...}"}

The calls must be valid under the tools' schemas and fit the kind. Where the tools are code they are run as well, and
must not fail: the state that they lead to is then the expected one.
"""

from typing import Annotated

import orjson
from pydantic import Field

from generators.general_tools.scenario import GoldCall, Kind, Scenario
from generators.general_tools.toolboxes import Toolbox
from gristmill import Answer, Context, Reject
from gristmill.tools.checks import ToolSet
from gristmill.tools.python_environment import play
from schemas import Function, JsonObject, Tool, ToolCall, canonical_json

_LEAST: dict[Kind, int] = {"no_tool": 0, "single_turn": 1, "missing_information": 1}

Line = Annotated[str, Field(max_length=1500)]


class WrittenCall(Answer):
    name: Line
    arguments: Line


class Written(Answer):
    calls: Annotated[list[WrittenCall], Field(max_length=8)]
    goal: Line
    system: Line
    withheld: Annotated[list[Line], Field(max_length=4)]
    world: Annotated[str, Field(max_length=8000)]


async def write_scenario(box: Toolbox, tools: list[Tool], kind: Kind, persona: str, ctx: Context) -> Scenario:
    """A scenario by the role `writer`. Reject(scenario, ...) where it isn't one."""
    written = await ctx.ask(
        "writer", "scenario", Written, kind=kind, persona=persona, about=box.about.about,
        tools="\n".join(canonical_json(tool.function.model_dump(mode="json")).decode() for tool in tools),
        world=canonical_json(box.state).decode() if box.source else "", live=box.server is not None,
    )  # fmt: skip
    calls = _calls(written, tools)
    if len(calls) < _LEAST.get(kind, 2) or (calls and kind == "no_tool") or (len(calls) > 1 and kind == "single_turn"):
        raise Reject("scenario", "wrong_kind", f"{len(calls)} calls for {kind}")
    withheld = [value for value in written.withheld if value.strip()]
    if kind == "missing_information" and not any(value in written.goal for value in withheld):
        raise Reject("scenario", "nothing_withheld", written.goal[:200])
    scenario = Scenario(
        kind=kind, goal=written.goal, system=box.about.system or written.system,
        withheld=withheld if kind == "missing_information" else [],
        world=box.state if box.source else {} if box.server else _object(written.world, "bad_world"), calls=calls,
    )  # fmt: skip
    if box.source:
        await _require_playable(box, scenario, ctx)
    return scenario


def _calls(written: Written, tools: list[Tool]) -> list[GoldCall]:
    known = ToolSet(tools)
    for number, call in enumerate(written.calls):
        function = Function(name=call.name, arguments=call.arguments)
        faults = known.check(ToolCall(id=f"call_{number}", function=function))
        if faults:
            raise Reject("scenario", "bad_call", str(faults[0]))
    return [(call.name, _object(call.arguments, "bad_call")) for call in written.calls]


def _object(text: str, reason: str) -> JsonObject:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise Reject("scenario", reason, str(error), text=text) from None
    if not isinstance(value, dict):
        raise Reject("scenario", reason, "no object", text=text)
    return value


async def _require_playable(box: Toolbox, scenario: Scenario, ctx: Context) -> None:
    played = await play(box.source, scenario.world, scenario.calls, ctx)
    for (name, _), result in zip(scenario.calls, played.results, strict=True):
        if isinstance(result, dict) and "error" in result:
            raise Reject("scenario", "calls_fail", f"{name}: {result['error']}")
