"""`gristmill judge` on files of others: OpenAI messages without our columns, from .jsonl and .parquet."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.testing import Faults, FaultServer

CLI = Callable[..., CompletedProcess[str]]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


def conversation(
    arguments: Any, answer: Any = "Rain all day in Ghent, so take an umbrella.", **row: Any
) -> dict[str, Any]:
    """As exports look: parts, nulls, tools as text, no ids."""
    return {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "You know the weather."}]},
            {"role": "user", "content": [{"type": "text", "text": "Will it rain in Ghent?"}], "name": None},
            {"role": "assistant", "content": None, "tool_calls": [
                {"type": "function", "function": {"name": "weather", "arguments": arguments}}], "refusal": None},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": answer},
        ],
        "tools": json.dumps([WEATHER]),
        **row,
    }  # fmt: skip


def write_config(folder: Path, judges: list[dict[str, Any]], url: str | None = None) -> None:
    models = {"judge": {"endpoint": url, "model": "j", "repairs": 0}} if url else {}
    (folder / "judges.yaml").write_text(yaml.safe_dump({"judges": judges, "models": models}))


def outcome(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return pq.read_table(folder / "records").to_pylist(), pq.read_table(folder / "rejects").to_pylist()


def test_a_file_of_openai_messages_is_judged_as_it_is(cli: CLI, tmp_path: Path) -> None:
    rows = [
        conversation({"city": "Ghent"}, source="log", rating=5),
        conversation('{"city": "Ghent", "days": "2"}'),
        conversation('{"city": "Gh'),
        conversation({"city": "Ghent"}, answer="I'm sorry, but I can't help with that."),
        conversation({"city": "Ghent"}, answer=[{"type": "image_url", "image_url": {"url": "x"}}]),
    ]
    lines = [*map(json.dumps, rows), '{"messages": [', json.dumps({"prompt": "no conversation"})]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    write_config(tmp_path, [{"name": "tool_calls", "require_calls": True}, {"name": "refusal"}])
    done = cli("judge", "log.jsonl", "judges.yaml", "--run", "out", "max_failed=1")
    assert done.returncode == 0, done.stderr
    records, rejects = outcome(tmp_path / "out")
    (kept,) = records
    assert json.loads(kept["metadata"]) == {"source": "log", "rating": 5}
    assert kept["messages"][2]["tool_calls"][0]["id"] == kept["messages"][3]["tool_call_id"] == "call_0"
    assert [verdict["name"] for verdict in kept["verdicts"]] == ["tool_calls", "refusal"]
    assert [(row["status"], row["stage"], row["reason"]) for row in rejects] == [
        ("rejected", "tool_calls", "failed"),
        ("rejected", "tool_calls", "failed"),
        ("rejected", "refusal", "failed"),
        ("failed", "seed", "error"),
        ("failed", "seed", "error"),
        ("failed", "seed", "error"),
    ]
    details = [row["detail"] for row in rejects]
    assert "wrong_type: weather.days" in details[0] and "bad_json: weather" in details[1]
    assert "a part of type image_url is no text" in details[3] and "holds an answer to the prompt" in details[5]


def test_parquet_with_nested_columns(cli: CLI, tmp_path: Path) -> None:
    """Structs have every key of every row, so what a row lacks comes as null, in tools and arguments too."""
    rows = [conversation({"city": "Ghent"}), conversation({"town": "Ghent"})]
    rows[1]["messages"][2]["tool_calls"][0]["id"] = "call_x"
    for row in rows:
        row["tools"] = [WEATHER, CLOCK]
        for message in row["messages"]:
            if isinstance(message["content"], str):
                message["content"] = [{"type": "text", "text": message["content"]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    write_config(tmp_path, [{"name": "tool_calls"}])
    done = cli("judge", "log.parquet", "judges.yaml", "--run", "out")
    assert done.returncode == 0, done.stderr
    records, rejects = outcome(tmp_path / "out")
    assert len(records) == 1 and json.loads(records[0]["tools"])[0] == WEATHER
    assert [row["detail"].count("_argument: weather") for row in rejects] == [2], "one missing, one unknown"


def test_a_panel_over_http_resumes_from_its_ledger(cli: CLI, tmp_path: Path) -> None:
    def script(role: str, request: Any) -> Any:
        text = request["messages"][0]["content"]
        if "ANSWERABLE" in json.dumps(request):  # wherever the schema is: prose as a first answer makes it move
            return "Let me think about that." if "city 3" in text else {"reason": "known", "verdict": "ANSWERABLE"}
        return {"reason": "r", "violated": ["violence"] if "city 5" in text else []}

    rows = [
        {"messages": [{"role": "user", "content": f"Tell me of city {n}."}, {"role": "assistant", "content": "Old."}]}
        for n in range(8)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    members = [{"name": "answerable", "on_undecided": "retry"}, {"name": "moderation"}]
    with FaultServer(Faults(status_500=0.2), script=script) as server:
        write_config(tmp_path, [{"name": "quality", "members": members}], server.url)
        assert cli("judge", "log.jsonl", "judges.yaml", "--run", "out").returncode == 0
        records, rejects = outcome(tmp_path / "out")
        assert len(records) == 6
        assert [(row["stage"], row["reason"]) for row in rejects] == [("quality", "undecided"), ("quality", "failed")]
        verdicts = {v["name"]: v["passed"] for v in json.loads(rejects[0]["payload"])["verdicts"]}
        assert verdicts == {"quality.answerable.try1": None, "quality.answerable": None, "quality": None}
        asked = sum(server.answered.values())
        assert asked == 8 + 1 + 7, "one retry; where the first member is undecided the second is not asked"
        assert cli("judge", "log.jsonl", "judges.yaml", "--run", "out").returncode == 0
        assert cli("judge", "log.jsonl", "judges.yaml", "--run", "out", "judges.quality.mode=shadow").returncode == 0
        assert len(outcome(tmp_path / "out")[0]) == 8 and sum(server.answered.values()) == asked
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["verdicts"]["quality"] == {"passed": 6, "failed": 1, "undecided": 1}


@pytest.mark.shared
def test_real_problems_as_conversations(cli: CLI, tmp_path: Path, shared_data: Path) -> None:
    """HumanEval as someone would export it: every solution is an answer, and none repeats its problem."""
    with gzip.open(shared_data / "code_benchmarks/HumanEval.jsonl.gz", "rt") as lines:
        problems = [json.loads(line) for line in lines]
    with (tmp_path / "humaneval.jsonl").open("w") as out:
        for problem in problems:
            turns = [{"role": "user", "content": [{"type": "text", "text": problem["prompt"]}]},
                     {"role": "assistant", "content": f"```python\n{problem['canonical_solution']}```"}]  # fmt: skip
            out.write(json.dumps({"messages": turns, "task": problem["task_id"]}) + "\n")
    names = ["tool_calls", "refusal", "language", "near_duplicate_of_prompt", "meta_leak"]
    write_config(tmp_path, [{"name": name} | ({"expected": ["en"]} if name == "language" else {}) for name in names])
    assert cli("judge", "humaneval.jsonl", "judges.yaml", "--run", "out").returncode == 0
    records, rejects = outcome(tmp_path / "out")
    assert len(records) == 164 and not rejects
    assert [verdict["name"] for verdict in records[0]["verdicts"]] == names
