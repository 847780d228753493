"""Conversations as others write them: OpenAI's chat format in all its ages, brought into our shape.

    {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                  {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
                  {"role": "function", "name": "f", "content": "{}"}],
     "tools": "[{\"name\": \"f\", \"parameters\": {\"type\": \"object\"}}]"}

becomes a system message, a call with the id `call_0` and arguments as JSON text, a tool message that answers `call_0`,
and a list of tools with type and function. Missing ids are given in order; nulls in objects, which parquet puts where
other rows have a key, are left out. What can't be kept (an image, a role that
nobody knows) is a ValueError that says where it is: nothing is left out silently.

Source: OpenAI API reference, chat completions (https://platform.openai.com/docs/api-reference/chat); `function_call`
and the role `function` are its form of 2023.
"""

from typing import Any

import orjson

_ROLES = {"developer": "system", "function": "tool"}
_READ = {
    "role", "name", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call",
    "tool_call_id",
}  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text")


def our_messages(value: Any) -> list[dict[str, Any]]:
    """Messages in our shape; ValueError where there are none, or one can't be kept."""
    value = _parsed(value)
    if not isinstance(value, list) or not value:
        raise ValueError("messages: no list of messages")
    ids = _Ids()
    return [_message(message, f"messages.{position}", ids) for position, message in enumerate(value)]


def our_tools(value: Any) -> list[dict[str, Any]]:
    """Tools in our shape, from a list of tools or of bare functions, or from its JSON text."""
    value = _parsed(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("tools: no list of tools")
    return [_tool(_parsed(tool), position) for position, tool in enumerate(value)]


def _parsed(value: Any) -> Any:
    if not isinstance(value, str | bytes):
        return value
    return orjson.loads(value) if value.strip() else None


class _Ids:
    """Gives calls that have no id one in order, and results that name no call the oldest open one."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []

    def call(self, given: Any, name: str) -> str:
        identity = str(given) if given else f"call_{self._count}"
        self._count += 1
        self._open.append((identity, name))
        return identity

    def result(self, given: Any, name: str | None) -> str | None:
        fitting = [one for one in self._open if (one[0] == str(given) if given else name in (None, one[1]))]
        if fitting:
            self._open.remove(fitting[0])
            return fitting[0][0]
        return str(given) if given else None


def _message(message: Any, where: str, ids: _Ids) -> dict[str, Any]:
    if not isinstance(message, dict) or "role" not in message:
        raise ValueError(f"{where}: no message with a role")
    unknown = [name for name, value in message.items() if name not in _READ and value not in (None, "", [], {})]
    if unknown:
        raise ValueError(f"{where}: a field {unknown[0]}, which has no place here")
    ours = {name: message[name] for name in ("role", "name") if message.get(name) is not None}
    ours["role"] = _ROLES.get(message["role"], message["role"])
    ours["content"] = _text(message.get("content") or message.get("refusal"), where)
    trace = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(trace, str) and trace:
        ours["reasoning_content"] = trace
    calls = _parsed(message.get("tool_calls")) or []
    if message.get("function_call"):
        calls = [{"function": _parsed(message["function_call"])}]
    if calls:
        ours["tool_calls"] = [_call(call, where, ids) for call in calls]
    if ours["role"] == "tool":
        ours["tool_call_id"] = ids.result(message.get("tool_call_id"), message.get("name"))
    return ours


def _text(content: Any, where: str) -> str:
    """The text of a content, which may be a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return orjson.dumps(content).decode()  # a tool's result that was never written as text
    if not isinstance(content, list):
        raise ValueError(f"{where}.content: no text")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get("text") if isinstance(part, dict) else part
        if kind == "refusal":
            text = part.get("refusal")
        elif kind not in _TEXT_PARTS:
            raise ValueError(f"{where}.content: a part of type {kind} is no text")
        if not isinstance(text, str):
            raise ValueError(f"{where}.content: a part without text")
        texts.append(text)
    return "".join(texts)  # as chat templates put parts together


def _call(call: Any, where: str, ids: _Ids) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"{where}.tool_calls: no call with a function's name")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = orjson.dumps({} if arguments is None else _present(arguments)).decode()
    identity = ids.call(call.get("id"), function["name"])
    return {"id": identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _tool(tool: Any, position: int) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"tools.{position}: no function with a name")
    function = {key: _present(value) for key, value in function.items() if key != "type" and value is not None}
    parameters = _parsed(function.pop("parameters", None) or function.pop("input_schema", None))
    return {"type": "function", "function": {**function, **({"parameters": parameters} if parameters else {})}}


def _present(value: Any) -> Any:
    """Without the nulls in objects: they are what parquet makes of keys that other rows have."""
    if isinstance(value, dict):
        return {key: _present(inner) for key, inner in value.items() if inner is not None}
    return [_present(inner) for inner in value] if isinstance(value, list) else value
