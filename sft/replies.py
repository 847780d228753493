"""What a model wrote after a generation prompt, as a message: the Nemotron 3 format read backwards.

    I have to look it up.\\n</think>\\n<tool_call>\\n<function=get_time>\\n<parameter=city>\\nOslo\\n</parameter> ...

A trace is there where the prompt, or the reply itself, opened one. Values of parameters are text where the tool's
schema says so, else JSON. Between the same tags other formats have a call as JSON:

    <tool_call>\\n{"name": "get_time", "arguments": {"city": "Oslo"}}\\n</tool_call>
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from gristmill.render.nemotron3 import END_THINK, END_TOOL_CALL, THINK, TOOL_CALL
from schemas import Function, Message, Tool, ToolCall, assistant

_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>\n(.*?)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n(.*?)\n</parameter>\n", re.DOTALL)
_AS_PYTHON = {"True": True, "False": False, "None": None}


def read_reply(text: str, thinking: bool, tools: Sequence[Tool]) -> Message:
    """`text` is without the end of the turn; `thinking` says whether the prompt opened a trace. A call that isn't in
    the format stays a part of the content."""
    if not thinking and text.lstrip().startswith(THINK):
        text, thinking = text.lstrip().removeprefix(THINK).lstrip("\n"), True
    trace, closed, rest = text.partition(END_THINK) if thinking else ("", END_THINK, text)
    if not closed:
        return assistant("", trace.rstrip("\n"))
    content, *called = rest.split(TOOL_CALL)
    calls = []
    for number, call in enumerate(called):
        made = _read_call(call.removesuffix("\n").removesuffix(END_TOOL_CALL), tools, f"call_{number}")
        if made is None:
            return assistant(rest.strip(), trace.strip("\n") or None)
        calls.append(made)
    return assistant(content.strip() if calls else content.removeprefix("\n"), trace.rstrip("\n") or None, calls)


def _read_call(text: str, tools: Sequence[Tool], name: str) -> ToolCall | None:
    found = _FUNCTION.fullmatch(text)
    if not found:
        return _read_json_call(text, name)
    schema = next((tool.function.parameters for tool in tools if tool.function.name == found[1]), {})
    listed = schema.get("properties")
    properties = listed if isinstance(listed, dict) else {}
    given = {key: _value(value, properties.get(key)) for key, value in _PARAMETER.findall(found[2])}
    return ToolCall(id=name, function=Function(name=found[1], arguments=json.dumps(given, ensure_ascii=False)))


def _read_json_call(text: str, name: str) -> ToolCall | None:
    try:
        written = json.loads(text)
    except ValueError:
        return None
    match written:
        case {"name": str(function), "arguments": dict(given)}:
            return ToolCall(id=name, function=Function(name=function, arguments=json.dumps(given, ensure_ascii=False)))
    return None


def _value(text: str, schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    if text in _AS_PYTHON:
        return _AS_PYTHON[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
