"""Rows as public datasets write them become records, and what can't be read says why."""

from typing import Any

import orjson
import pytest

from schemas.arrow import foreign_row_to_record
from schemas.chat_shapes import messages_in
from schemas.records import Record

WEATHER = {"name": "weather", "description": "Weather of a city", "parameters": {"type": "object", "properties": {}}}


def turns(record: Record) -> list[tuple[str, str, str | None]]:
    return [(message.role, message.content, message.reasoning_content) for message in record.messages]


SHAPES: list[tuple[str, dict[str, Any], list[tuple[str, str, str | None]]]] = [
    (
        "sharegpt",
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "Bye"},
                {"from": "gpt", "value": "See you"},
            ],
            "system": "Be kind.",
        },
        [
            ("system", "Be kind.", None),
            ("user", "Hi", None),
            ("assistant", "Hello", None),
            ("user", "Bye", None),
            ("assistant", "See you", None),
        ],
    ),
    (
        "alpaca",
        {"instruction": "Translate.", "input": "chat", "output": "cat", "history": [["Ready?", "Yes."]]},
        [
            ("user", "Ready?", None),
            ("assistant", "Yes.", None),
            ("user", "Translate.\n\nchat", None),
            ("assistant", "cat", None),
        ],
    ),
    (
        "alpaca without input",
        {"instruction": "Say x.", "input": "", "output": "x"},
        [("user", "Say x.", None), ("assistant", "x", None)],
    ),
    (
        "llama-nemotron",
        {
            "system_prompt": "detailed thinking on",
            "input": [{"role": "user", "content": "2+2?"}],
            "output": "<think>\nTwo and two.\n</think>\n\n4",
            "reasoning": "on",
            "used_in_training": "yes",
        },
        [("system", "detailed thinking on", None), ("user", "2+2?", None), ("assistant", "4", "Two and two.")],
    ),
    (
        "llama-nemotron, input as text",
        {"input": "2+2?", "output": "4", "reasoning": "off"},
        [("user", "2+2?", None), ("assistant", "4", None)],
    ),
    (
        "nemotron v2",
        {
            "messages": [
                {"role": "system", "content": ""},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "<think></think>a"},
            ],
            "reasoning": "off",
            "metadata": '{"seed": 1}',
        },
        [("system", "", None), ("user", "q", None), ("assistant", "a", None)],
    ),
    (
        "nemotron v3",
        {
            "messages": [
                {"role": "user", "content": "q", "reasoning_content": None, "tool_calls": None},
                {"role": "assistant", "content": "a", "reasoning_content": "because", "tool_calls": None},
            ],
            "tools": "",
            "used_in": ["super_v3"],
            "license": "CC-BY-4.0",
        },
        [("user", "q", None), ("assistant", "a", "because")],
    ),
    ("gsm8k", {"question": "1+1?", "answer": "2"}, [("user", "1+1?", None), ("assistant", "2", None)]),
    (
        "prompt and completion as messages",
        {
            "prompt": [{"role": "user", "content": "Sky?"}],
            "completion": [{"role": "assistant", "content": "Blue."}],
        },
        [("user", "Sky?", None), ("assistant", "Blue.", None)],
    ),
]


@pytest.mark.parametrize(("row", "expected"), [pytest.param(row, turns, id=name) for name, row, turns in SHAPES])
def test_the_usual_shapes_are_read(row: dict[str, Any], expected: list[tuple[str, str, str | None]]) -> None:
    record = foreign_row_to_record(row)
    assert turns(record) == expected
    assert record.reasoning == ("on" if any(trace for _, _, trace in expected) else "off")


def test_what_made_the_conversation_is_not_kept_twice_and_the_rest_is() -> None:
    row = {"instruction": "Say x.", "input": "", "output": "x", "source": "book", "text": "the whole prompt", "id": 3}
    kept = foreign_row_to_record(row).metadata
    assert kept == {"input": "", "source": "book", "text": "the whole prompt", "id": 3}


def test_tools_come_as_lists_as_json_and_as_nothing() -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    tool = {"type": "function", "function": WEATHER}
    for tools in ([tool], [WEATHER], orjson.dumps([tool]).decode(), [orjson.dumps(WEATHER).decode()]):
        record = foreign_row_to_record({"messages": chat, "tools": tools})
        assert record.tools[0].function.name == "weather", tools
        assert "tools" not in record.metadata
    for nothing in ("", None, []):
        assert foreign_row_to_record({"messages": chat, "tools": nothing}).tools == []


def test_calls_of_sharegpt_get_ids_and_their_results_find_them() -> None:
    calls = '[{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "weather", "arguments": {"city": "Rome"}}]'
    row = {
        "conversations": [
            {"from": "human", "value": "Warmer?"},
            {"from": "function_call", "value": calls},
            {"from": "observation", "value": "3"},
            {"from": "observation", "value": "19"},
            {"from": "gpt", "value": "Rome."},
        ],
        "tools": orjson.dumps([WEATHER]).decode(),
    }
    messages = foreign_row_to_record(row).messages
    assert [call.id for call in messages[1].tool_calls] == ["call_0", "call_1"]
    assert [message.tool_call_id for message in messages[2:4]] == ["call_0", "call_1"]
    assert orjson.loads(messages[1].tool_calls[1].function.arguments) == {"city": "Rome"}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"text": "a page of a book"}, "holds an answer to the prompt"),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "holds an answer to the prompt"),
        ({"embedding": [0.1]}, "holds a prompt"),
        ({"conversations": [{"from": "narrator", "value": "x"}, {"from": "gpt", "value": "y"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part of type image_url is no text"),
        ({"question": "q", "answer": "a", "tools": "{"}, "unexpected end"),
    ],
)
def test_what_is_no_conversation_says_why(row: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        foreign_row_to_record(row)


def test_a_reasoning_column_of_other_words_is_kept_as_metadata() -> None:
    row = {"question": "q", "answer": "<think>hm</think>a", "reasoning": "deepseek-r1"}
    record = foreign_row_to_record(row)
    assert record.reasoning == "on" and record.metadata == {"reasoning": "deepseek-r1"}


def test_a_prompt_alone_is_enough_where_an_answer_is_to_be_made() -> None:
    assert messages_in({"prompt": "q", "response": "not looked at"}) == [{"role": "user", "content": "q"}]
