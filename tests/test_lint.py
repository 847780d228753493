"""`gristmill lint`: each fault is found, sound data gives none, and the command says so."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from blends.lint import CONTROL, WARNINGS, lint, row_faults
from blends.sizes import Rendering
from blends.sources import inputs_at
from gristmill.commands.show import example_records
from gristmill.render.tokenizers import train
from schemas.arrow import foreign_row_to_record
from tests.blending import record, write, write_lines
from tests.conftest import CLI

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}  # fmt: skip


def u(content: str = "q") -> dict[str, Any]:
    return {"role": "user", "content": content}


def a(content: str = "a", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def called(call: dict[str, Any] = CALL, tools: list[dict[str, Any]] | None = None, **result: Any) -> dict[str, Any]:
    answer = {"role": "tool", "content": "3", "tool_call_id": "c1", **result}
    return {"messages": [u(), a("", tool_calls=[call]), answer, a()], "tools": [TOOL] if tools is None else tools}


def with_arguments(arguments: str) -> dict[str, Any]:
    return {**CALL, "function": {"name": "weather", "arguments": arguments}}


LONG = "The answer is long enough that nobody says it twice by chance. " * 4

FAULTY: list[tuple[str, dict[str, Any]]] = [
    ("no_assistant", {"messages": [u()]}),
    ("unanswered", {"messages": [u(), a(), u()]}),
    ("role_order", {"messages": [u(), {"role": "system", "content": "s"}, a()]}),
    ("role_order", {"messages": [u(), u(), a()]}),
    ("role_order", {"messages": [u(), a(), a()]}),
    ("empty_turn", {"messages": [u(), a("")]}),
    ("empty_turn", {"messages": [u("  "), a()]}),
    ("no_schemas", called(tools=[])),
    ("unknown_tool", called({**CALL, "function": {"name": "wether", "arguments": "{}"}})),
    ("bad_json", called(with_arguments("{city: Oslo}"))),
    ("missing_argument", called(with_arguments("{}"))),
    ("wrong_type", called(with_arguments('{"city": 3}'))),
    ("orphan_result", called(tool_call_id="c2")),
    ("control_token", {"messages": [u("<|im_start|>system"), a()]}),
    ("control_token", {"messages": [u(), a("done<|eot_id|>")]}),
    ("control_token", {"messages": [u("[INST] q [/INST]"), a()]}),
    ("think_tag", {"messages": [u(), a("So </think> a")]}),
    ("repeated_trace", {"messages": [u(), a(LONG, reasoning_content=f"Let me say: {LONG}")]}),
]  # fmt: skip


@pytest.mark.parametrize(("check", "row"), FAULTY)
def test_each_fault_is_found_alone(check: str, row: dict[str, Any]) -> None:
    assert check in {fault.check for fault in row_faults(foreign_row_to_record(row), CONTROL)}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "s"}, u(), a(), u(), a()]},
        called(),
        {"messages": [u("What is <think> in HTML, and a |pipe|?"), a("x <| y |> z", reasoning_content="hm")]},
        {"messages": [u(), a("", tool_calls=[CALL])], "tools": [TOOL]},
    ],
)
def test_sound_conversations_have_none(row: dict[str, Any]) -> None:
    assert list(row_faults(foreign_row_to_record(row), CONTROL)) == []


def test_a_dataset_is_summed_up(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"messages": [u(f"q{n}"), a("The harbour was quiet that morning.")], "reasoning": "off"} for n in range(20)
    ]
    rows += [rows[3], {"messages": [u("x"), a("y")], "reasoning": "on"}, {"text": "a page"}, b"{broken"]
    rows += [{"messages": [u("t"), a("u")], "tools": orjson.dumps([TOOL]).decode()}, {**called(), "reasoning": "off"}]
    report = lint(inputs_at(str(write_lines(tmp_path / "a.jsonl", rows)), "lint"), None, lambda line: None)
    found = {one.check: (one.level, one.rows) for one in report.found}
    assert found == {
        "unreadable": ("error", 2),
        "mixed_types": ("error", 26),
        "repeated": ("warning", 1),
        "reasoning_column": ("warning", 1),
    }
    assert report.rows == 26 and report.readable == 24 and report.has_errors
    examples = {one.check: one.examples for one in report.found}
    assert examples["repeated"] == ["line:21: as line:4"]
    assert any(example.startswith("tools: str (line:25), list (line:26)") for example in examples["mixed_types"])
    assert report.lengths["turns"] == {"p10": 2, "p50": 2, "p90": 2, "p100": 4}


def test_rendering_is_checked_with_the_tokenizer_of_sft(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    train("train:300", ["What is it? It is a number."]).save(folder, "")
    trimmed = tmp_path / "trimmed.jinja"
    trimmed.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content.replace('secret', '') }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>"
        "{% endif %}\n{% endfor %}"
    )
    rows = [
        {"messages": [u(), a("fine")]},
        {"messages": [u(), a("a secret word")]},
        {"messages": [u("<tool_call>"), a()]},
    ]
    path = str(write_lines(tmp_path / "a.jsonl", rows))

    def found(template: str) -> dict[str, int]:
        rendering = Rendering(str(folder), template, "truncate")
        return {one.check: one.rows for one in lint(inputs_at(path, "lint"), rendering, lambda line: None).found}

    assert found("nemotron3") == {"control_token": 1}
    assert found(str(trimmed)) == {"control_token": 1, "changed_by_template": 1}


@pytest.mark.parametrize("generator", ["algorithmic", "code_concepts", "refresh", "text_to_sql"])
def test_our_own_examples_are_ready(generator: str) -> None:
    for row in example_records(generator):
        faults = {fault.check for fault in row_faults(foreign_row_to_record(row), CONTROL)}
        assert faults <= WARNINGS, faults


def test_lint_command(cli: CLI, tmp_path: Path) -> None:
    write(tmp_path / "good.parquet", (record(n) for n in range(30)))
    good = cli("lint", "good.parquet")
    assert good.returncode == 0 and "verdict    ready" in good.stdout and "30 readable" in good.stdout
    write_lines(tmp_path / "bad.jsonl", [{"messages": [u(), u(), a()]}, {"messages": [u(), a()]}])
    bad = cli("lint", "bad.jsonl")
    assert bad.returncode == 1 and "error      role_order: 1 rows (50.00%)" in bad.stdout
    assert "line:1: messages.1: two user turns in a row" in bad.stdout
    as_json = cli("lint", "bad.jsonl", "--format", "json")
    assert orjson.loads(as_json.stdout)["found"][0]["check"] == "role_order"
    absent = cli("lint", "nowhere.jsonl")
    assert absent.returncode == 2 and "nowhere.jsonl is no folder" in absent.stderr
    assert cli("lint", "good.parquet", "--tokenizer", "train:400").returncode == 2
