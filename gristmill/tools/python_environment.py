"""Python functions as an environment: each call runs in the sandbox, and the module's `STATE` is what it acts on.

    STATE = {"tables": {"T1": {"seats": 4, "booked": []}}}

    def book_table(table: str, guests: int) -> dict[str, object]:
        \"\"\"Book a table for tonight.\"\"\"
        if guests > STATE["tables"][table]["seats"]:
            raise ValueError(f"table {table} has fewer seats")
        ...

An argument arrives as the JSON value that it is. What a function returns is the result; what it raises is a result
too, `{"error": ...}`, and leaves the state as it was. The state must be JSON. The same calls on the same state give the
same results, so `play` says which state a list of calls leads to.

Source: ours; the sandbox is docs/sandbox.md.
"""

import ast
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from gristmill.context import Context
from gristmill.errors import Reject
from gristmill.sandbox import SandboxLimits
from gristmill.tools.checks import arguments_of
from schemas import Json, JsonObject, Tool, ToolCall, canonical_json

LIMITS = SandboxLimits(seconds=5)

_DRIVER = """\
import contextlib, copy, json, sys
import tools


def play(state, name, arguments):
    tools.STATE = state
    with contextlib.redirect_stdout(sys.stderr):
        result = getattr(tools, name)(**arguments)
    return json.loads(json.dumps([result, tools.STATE], allow_nan=False))


asked = json.load(sys.stdin)
state, results = asked["state"], []
for name, arguments in asked["calls"]:
    try:
        result, state = play(copy.deepcopy(state), name, arguments)
    except Exception as error:
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        result = {"error": told}
    results.append(result)
print(json.dumps({"results": results, "state": state}))
"""


class Played(NamedTuple):
    results: list[Json]
    state: JsonObject


async def play(
    source: str,
    state: JsonObject,
    calls: Sequence[tuple[str, JsonObject]],
    ctx: Context,
    limits: SandboxLimits = LIMITS,
) -> Played:
    """The calls' results, and the state after them. Reject(tool, ...) where the module can't be run to its end."""
    asked = canonical_json({"calls": [[name, arguments] for name, arguments in calls], "state": state}).decode()
    run = await ctx.sandbox.run(_DRIVER, files={"tools.py": source}, stdin=asked, limits=limits)
    if run.status != "ok":
        reason = "broken" if run.status == "error" else run.status
        raise Reject("tool", reason, run.complaint())
    return Played(**orjson.loads(run.stdout))


def initial_state(source: str) -> JsonObject:
    """What a module's `STATE` is at first; {} where it has none. ValueError where it is no literal."""
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id == "STATE":
            if node.value is None:
                break
            state = ast.literal_eval(node.value)
            if not isinstance(state, dict) or not _is_json(state):
                raise ValueError("STATE is no object of JSON")
            return state
    return {}


def _is_json(value: object) -> bool:
    try:
        return bool(orjson.loads(canonical_json(value)) == value)
    except TypeError:
        return False


class PythonTools:
    """One conversation's world: the functions of `source`, and a state of its own."""

    def __init__(self, source: str, tools: Sequence[Tool], state: JsonObject, limits: SandboxLimits = LIMITS) -> None:
        self.tools = [*tools]
        self.state = state
        self._source = source
        self._limits = limits

    async def call(self, call: ToolCall, ctx: Context) -> str:
        asked = [(call.function.name, arguments_of(call))]
        played = await play(self._source, self.state, asked, ctx, self._limits)
        self.state = played.state
        result = played.results[0]
        return result if isinstance(result, str) else canonical_json(result).decode()
