"""Replies: what is an answer and what never becomes a record; structured answers are always checked here."""

from typing import Any

import pytest

from gristmill.errors import ConfigError, Reject
from gristmill.llm import Reply, answer_shape, object_shape
from gristmill.llm.loops import loops
from gristmill.llm.reply import parse_chat, split_think
from schemas import Answer, Message, Usage


def response(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}], "model": "m", **more}


@pytest.mark.parametrize(
    ("message", "trace", "content"),
    [
        ({"content": "4", "reasoning_content": "2+2"}, "2+2", "4"),
        ({"content": "4", "reasoning": "2+2"}, "2+2", "4"),
        ({"content": "<think>\n2+2\n</think>\n\n4"}, "2+2", "4"),
        ({"content": "2+2</think>4"}, "2+2", "4"),
        ({"content": "4"}, None, "4"),
    ],
)
def test_reasoning_is_captured_from_every_place(message: dict[str, Any], trace: str | None, content: str) -> None:
    reply = parse_chat(response(message))
    assert (reply.message.reasoning_content, reply.text) == (trace, content)
    assert reply.fault() is None


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": "half of an ans"}, "length", "truncated"),
        ({"content": "<think>never closed"}, "stop", "truncated"),
        ({"content": ""}, "stop", "no_answer"),
        ({"content": None, "reasoning_content": "only thought"}, "stop", "no_answer"),
        ({"content": "and so on " * 200}, "stop", "loop"),
        ({"content": "fine", "reasoning_content": "wait, " * 500}, "stop", "loop"),
    ],
)
def test_what_is_no_answer_is_rejected(message: dict[str, Any], finish: str, reason: str) -> None:
    with pytest.raises(Reject) as rejected:
        parse_chat(response(message, finish)).require_answer()
    assert (rejected.value.stage, rejected.value.reason) == ("llm", reason)


def test_ordinary_text_does_not_loop() -> None:
    table = "\n".join(f"| {n} | {n * n} |" for n in range(200))
    assert not loops(table) and not loops("short " * 5)
    assert loops("x" * 600)


def test_unclosed_think_is_seen() -> None:
    assert split_think("<think>abc") == ("abc", "", False)


def test_tool_calls_and_usage() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
             "completion_tokens_details": {"reasoning_tokens": 3}}  # fmt: skip
    reply = parse_chat(response({"content": None, "tool_calls": [call]}, "tool_calls", usage=usage))
    assert reply.message.tool_calls[0].function.arguments == '{"a":1}'
    assert reply.usage == Usage(input=10, output=5, reasoning=3, cached=4)
    assert reply.fault() is None


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{}]}, response({"tool_calls": [{"id": 1}]})])
def test_what_is_no_response_is_a_value_error(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the response has"):
        parse_chat(body)


def test_a_reply_survives_the_ledger() -> None:
    usage = Usage(input=1, output=2, reasoning=1)
    reply = Reply(Message(role="assistant", content="é{}", reasoning_content="t"), "stop", usage, "m")
    assert Reply.from_json(reply.to_json()) == reply


class Score(Answer):
    score: int
    reason: str


def test_answers_are_validated_strictly() -> None:
    shape = answer_shape(Score)
    assert shape.parse('{"score": 3, "reason": "ok"}') == Score(score=3, reason="ok")
    assert shape.parse('Here:\n```json\n{"score": 3, "reason": "ok"}\n```') == Score(score=3, reason="ok")
    for wrong in (
        "",
        "no json",
        '{"score": "3", "reason": "ok"}',
        '{"score": 3}',
        '{"score": 3, "reason": "", "x": 1}',
    ):
        with pytest.raises(ValueError):
            shape.parse(wrong)


def test_object_shapes_are_validated() -> None:
    shape = object_shape("verdict", {"score": {"type": "integer", "maximum": 5}})
    assert shape.parse('{"score": 5}') == {"score": 5}
    for wrong in ('{"score": 6}', "{}", '{"score": 1, "x": 2}', "[1]", "{"):
        with pytest.raises(ValueError):
            shape.parse(wrong)
    with pytest.raises(ConfigError, match="not a JSON schema"):
        object_shape("verdict", {"score": {"type": "whole number"}})
