"""Tools that a model plays: it sees the call and the world, and what it claims of the world is checked.

    call       refund(order=17)
    facts      [{"path": "/orders/17/state", "value": "\\"paid\\""}]       must be what the world says
    fault      none
    result     {"refunded": 30.0}                                        must be JSON
    updates    [{"path": "/orders/17/state", "value": "\\"refunded\\""}]   becomes the world

The world is a JSON object and stays one; paths are JSON pointers. A call that is repeated while nothing has changed
gets the result that it had. Reject(tool, ...): `bad_result` (no JSON), `contradicts_state` (a fact that the world
denies, a change by a call that failed, a path that leads through a value), and `too_long` by the simulation's limits.

Source: the Tool model of the Nemotron 3 Super report, with a rubric of call errors; JSON Pointer, RFC 6901.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from gristmill import Answer, Context, Reject
from gristmill.tools.checks import arguments_of
from schemas import Json, JsonObject, Tool, ToolCall, canonical_json

Text = Annotated[str, Field(max_length=2000)]


class Claim(Answer):
    """`path` is a JSON pointer, `value` JSON text."""

    path: Text
    value: Text


class Served(Answer):
    """What the tool answers; fields in the order of their names, so that facts are stated before the result."""

    facts: Annotated[list[Claim], Field(max_length=12)]
    fault: Literal["none", "not_found", "not_allowed", "conflict", "bad_value", "unavailable"]
    result: str
    updates: Annotated[list[Claim], Field(max_length=12)]


class SimulatedTools:
    """One conversation's world, played by the role `tool`."""

    def __init__(self, tools: Sequence[Tool], world: JsonObject) -> None:
        self.tools = [*tools]
        self.state: JsonObject = orjson.loads(canonical_json(world))
        self._specs = {tool.function.name: tool.function for tool in tools}
        self._served: dict[bytes, str] = {}

    async def call(self, call: ToolCall, ctx: Context) -> str:
        name, arguments = call.function.name, arguments_of(call)
        key = canonical_json([name, arguments, self.state])
        if key not in self._served:
            spec = canonical_json(self._specs[name].model_dump(mode="json")).decode()
            served = await ctx.ask(
                "tool", "tool", Served, spec=spec, name=name, arguments=canonical_json(arguments).decode(),
                world=canonical_json(self.state).decode(),
            )  # fmt: skip
            self._served[key] = self._checked(served)
        return self._served[key]

    def _checked(self, served: Served) -> str:
        """The result as JSON text, after the facts were compared with the world and the updates made."""
        changed = {update.path for update in served.updates}
        for fact in served.facts:
            found = look_up(self.state, fact.path)
            if found is _ABSENT and fact.path in changed:
                continue
            if found != _parsed(fact.value):
                raise Reject("tool", "contradicts_state", f"{fact.path} is not {fact.value[:200]}")
        if served.updates and served.fault != "none":
            raise Reject("tool", "contradicts_state", f"{served.fault}, and yet {served.updates[0].path} changes")
        for update in served.updates:
            put(self.state, update.path, _parsed(update.value))
        result = _parsed(served.result)
        if served.fault != "none" and not (isinstance(result, dict) and "error" in result):
            result = {"error": {"type": served.fault, "message": result}}
        return canonical_json(result).decode()


def _parsed(text: str) -> Json:
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Reject("tool", "bad_result", text[:200]) from None
    return value


_ABSENT: Any = object()


def look_up(world: Any, pointer: str) -> Any:
    """What a JSON pointer leads to; a value that equals nothing where it leads nowhere."""
    for part in _parts(pointer):
        if isinstance(world, dict) and part in world:
            world = world[part]
        elif isinstance(world, list) and part.isdecimal() and int(part) < len(world):
            world = world[int(part)]
        else:
            return _ABSENT
    return world


def put(world: JsonObject, pointer: str, value: Json) -> None:
    """Sets what a JSON pointer leads to; objects on the way are made, `-` or the length appends to a list."""
    *way, last = _parts(pointer) or [""]
    place: Any = world
    for part in way:
        if isinstance(place, dict):
            place = place.setdefault(part, {})
        elif isinstance(place, list) and part.isdecimal() and int(part) < len(place):
            place = place[int(part)]
        else:
            raise Reject("tool", "contradicts_state", f"{pointer} leads through a value")
    if isinstance(place, dict) and last:
        place[last] = value
    elif isinstance(place, list) and last in ("-", str(len(place))):
        place.append(value)
    elif isinstance(place, list) and last.isdecimal() and int(last) < len(place):
        place[int(last)] = value
    else:
        raise Reject("tool", "contradicts_state", f"{pointer} leads through a value")


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
