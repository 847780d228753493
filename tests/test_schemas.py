"""Records: what is written reads back equal, and types never vary."""

import string
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import (
    Function,
    FunctionSpec,
    JsonObject,
    Message,
    Provenance,
    Record,
    Tool,
    ToolCall,
    Usage,
    Verdict,
    assistant,
    conversation_hash,
    system,
    user,
)
from schemas.arrow import RECORDS, foreign_row_to_record, record_to_row, records_to_table, row_to_record

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
name = st.text(string.ascii_letters, min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(ToolCall, id=name, function=st.builds(Function, name=name, arguments=text))
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=text,
    reasoning_content=st.none() | text,
    tool_calls=st.lists(calls, max_size=2),
    tool_call_id=st.none() | name,
    name=st.none() | name,
)
tools = st.builds(
    Tool,
    function=st.builds(
        FunctionSpec, name=name, description=text, parameters=st.dictionaries(text, json_values, max_size=3)
    ),
)
counts = st.integers(0, 2**40)
usages = st.builds(Usage, input=counts, output=counts, reasoning=counts, cached=counts)
finite = st.floats(0, 1e6)
verdicts = st.builds(
    Verdict,
    name=name,
    passed=st.none() | st.booleans(),
    score=st.none() | finite,
    reason=text,
    model=st.none() | name,
    cost=finite,
)
records = st.builds(
    Record,
    messages=st.lists(messages, min_size=1, max_size=4),
    tools=st.lists(tools, max_size=2),
    category=text,
    reasoning=st.sampled_from(["on", "off", "low"]),
    license=text,
    metadata=st.dictionaries(text, json_values, max_size=3),
    used_in=st.lists(text, max_size=2),
    verdicts=st.lists(verdicts, max_size=2),
    provenance=st.builds(Provenance, models=st.dictionaries(name, text, max_size=2), tokens=usages, usd=finite),
    generator=name,
    version=name,
    task_id=name,
)


@given(st.lists(records, min_size=1, max_size=3))
def test_what_was_written_reads_back_equal(made: list[Record]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(records_to_table(made), sink)
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    assert table.schema.equals(RECORDS)
    assert [row_to_record(row) for row in table.to_pylist()] == made


@given(records)
def test_json_reads_back_equal(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


def test_uuid_is_of_the_conversation_and_is_kept() -> None:
    conversation = [user("2 + 2?"), assistant("4")]
    record = Record(messages=conversation, metadata={"a": 1})
    assert record.uuid == conversation_hash(conversation, []) and len(record.uuid) == 32
    assert Record(messages=conversation, category="other").uuid == record.uuid
    assert Record(messages=[user("2 + 3?"), assistant("4")]).uuid != record.uuid
    changed = record.model_copy(update={"messages": [user("2 + 3?"), assistant("5")]})
    assert Record.from_json(changed.to_json()).uuid == record.uuid


def test_reasoning_says_whether_there_is_a_trace() -> None:
    assert Record(messages=[user("q"), assistant("a")]).reasoning == "off"
    assert Record(messages=[user("q"), assistant("a", reasoning="because")]).reasoning == "on"
    as_json = {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "because"}]}
    assert Record.model_validate(as_json).reasoning == "on"
    assert assistant("a", reasoning="").reasoning_content is None


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValidationError, match="can't be written as JSON"):
        Record(messages=[user("q")], metadata={"n": 2**70})
    with pytest.raises(ValidationError, match="can't be written as JSON"):
        Record(messages=[user("q")], tools=[Tool(function=FunctionSpec(name="f", parameters={"maximum": 2**70}))])


def test_the_parameters_of_a_tool_keep_their_order() -> None:
    """A teacher wrote its arguments in that order, so a student has to see them in it."""
    parameters: JsonObject = {"type": "object", "properties": {"since": {}, "city": {}, "until": {}}}
    record = Record(messages=[user("q")], tools=[Tool(function=FunctionSpec(name="f", parameters=parameters))])
    [kept] = row_to_record(record_to_row(record)).tools
    assert kept.function.model_dump_json() == record.tools[0].function.model_dump_json()


def test_foreign_rows_are_adapted() -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": None}],
           "tools": None, "metadata": {"a": [1]}, "source": "elsewhere"}  # fmt: skip
    record = foreign_row_to_record(row)
    assert record.metadata == {"a": [1], "source": "elsewhere"} and record.messages[1].content == ""
    assert foreign_row_to_record(record_to_row(record)) == record
    with pytest.raises(ValueError, match="messages"):
        foreign_row_to_record({"prompt": "q"})


def test_openai_messages_of_all_ages_are_adapted() -> None:
    row = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            {"role": "user", "content": "weather?", "name": None, "annotations": []},
            {"role": "assistant", "content": None, "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": {"city": "Ghent"}}},
                {"id": "", "function": {"name": "g", "arguments": None}},
            ]},
            {"role": "tool", "name": "g", "content": {"ok": True}},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}, "content": ""},
            {"role": "function", "name": "f", "content": "sun"},
            {"role": "assistant", "content": None, "refusal": "I won't.", "reasoning": "hm"},
        ],
        "tools": '[{"name": "f", "parameters": {"type": "object"}}, {"type": "function", "function": {"name": "g"}}]',
    }  # fmt: skip
    record = foreign_row_to_record(row)
    assert record.messages[0] == system("Be brief.")
    assert [(c.id, c.function.name, c.function.arguments) for c in record.messages[2].tool_calls] == [
        ("call_0", "f", '{"city":"Ghent"}'),
        ("call_1", "g", "{}"),
    ]
    assert [(m.tool_call_id, m.content) for m in record.messages if m.role == "tool"] == [
        ("call_1", '{"ok":true}'),
        ("call_0", "rain"),
        ("call_2", "sun"),
    ]
    assert record.messages[-1] == assistant("I won't.", "hm")
    assert [tool.function.name for tool in record.tools] == ["f", "g"]
    old = foreign_row_to_record({"messages": row["messages"], "functions": [{"name": "f"}], "source": "x"})
    assert [tool.function.name for tool in old.tools] == ["f"] and old.metadata == {"source": "x"}


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "messages.0.content: a part"),
        ({"role": "user", "content": "q", "weight": 0.5}, "messages.0: a field weight"),
        ({"role": "narrator", "content": "q"}, "role"),
        ({"content": "q"}, "messages.0: no message with a role"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "no call with a function's name"),
    ],
)
def test_what_would_be_lost_is_refused(message: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        foreign_row_to_record({"messages": [message]})
    with pytest.raises(ValueError, match=r"tools\.0: no function with a name"):
        foreign_row_to_record({"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "function"}]})


def test_datasets_reads_the_files(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for number in range(2):
        made = [Record(messages=[user(f"q{number}"), assistant("a")])]
        pq.write_table(records_to_table(made), tmp_path / f"part-{number}.parquet")
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 2 and loaded["train"][0]["messages"][1]["content"] == "a"
