"""The queries of docs/inspect.md answer what they say, and a blend of many generators can be asked them."""

import random
import re
from pathlib import Path

import duckdb
import pytest

from blends.account import LOSSES
from blends.lint import CONTROL, WARNINGS, row_faults
from gristmill.render.tokenizers import train
from gristmill.views import connect
from schemas import Record, Verdict, assistant, tool, user
from schemas.arrow import foreign_row_to_record
from schemas.messages import Function, ToolCall
from schemas.tools import FunctionSpec, Tool
from tests.blending import ask, blend, blend_of_all_generators, record, write, write_lines
from tests.conftest import ROOT

DOCS = (ROOT / "docs/inspect.md").read_text(encoding="utf-8")
QUERIES = [(int(number), sql) for sql, number in re.findall(r"```sql\n(-- (\d+)\. .*?)```", DOCS, re.DOTALL)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blend in which there is something to find for each query."""
    folder = tmp_path_factory.mktemp("inspected")
    train("train:400", ["What is it? It is a number."]).save(folder / "tokenizer", "")
    rng = random.Random(0)

    def prose(words: int) -> str:
        return " ".join(
            rng.choice(["harbour", "meadow", "river", "stone"]) + str(rng.randrange(99)) for _ in range(words)
        )

    call = ToolCall(id="1", function=Function(name="search", arguments='{"q": "x"}'))
    rows = [
        Record(
            messages=[user(f"What is {prose(9)}?"), assistant(prose(60), reasoning=prose(700) if n % 4 == 0 else None)],
            verdicts=[Verdict(name="rubric", passed=True, score=n % 5)], generator="g", license="CC0-1.0",
            metadata={"mode": "grammar"} if n % 5 == 1 else {}, category=f"c{n % 3}", task_id=str(n),
        )
        for n in range(60)
    ]  # fmt: skip
    rows += [
        Record(
            messages=[user("Find x."), assistant(tool_calls=[call]), tool("found", "1"), assistant(f"Here: {n}.")],
            tools=[Tool(function=FunctionSpec(name="search"))],
        )
        for n in range(3)
    ]
    near = [row.model_copy(update={"uuid": "", "verdicts": []}) for row in rows[:6]]
    near = [
        Record(messages=[one.messages[0], assistant(one.messages[1].content + " so")], generator="h") for one in near
    ]
    path = write(folder / "rows.parquet", rows)
    write_lines(folder / "lines.jsonl", [*({"question": f"{n}+1?", "answer": str(n + 1)} for n in range(30)), "no row"])
    sources = [
        {"name": "rows", "path": str(path), "weight": 2},
        {
            "name": "near",
            "path": str(write(folder / "near.parquet", [*near, *(record(n) for n in range(20))])),
            "weight": 1,
        },
        {"name": "lines", "path": str(folder / "lines.jsonl"), "weight": 1},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRISTMILL_CACHE", str(folder / "cache"))
        blend(
            folder, sources, 72, tokenizer=str(folder / "tokenizer"), reasoning={"off": 0.2},
            gates={"dedup": {"minhash": 0.8}}, splits={"train": 0.9, "valid": 0.1},
        )  # fmt: skip
    return folder


def test_there_are_twenty() -> None:
    assert [number for number, _ in QUERIES] == list(range(1, 21))


@pytest.mark.parametrize(("number", "sql"), QUERIES)
def test_each_query_of_the_docs_finds_something(folder: Path, number: int, sql: str) -> None:
    with connect(folder / "out") as connection:
        rows = connection.sql(sql).fetchall()
    assert rows and any(value is not None for row in rows for value in row)
    with duckdb.connect(str(folder / "out/blend.duckdb"), read_only=True) as plain:
        assert len(plain.sql(sql).fetchall()) == len(rows)


def test_some_of_their_answers(folder: Path) -> None:
    sql = dict(QUERIES)
    reasons = {reason: n for _, reason, n, _ in ask(folder, sql[18]) if reason != "not_drawn"}
    assert reasons == {"near_duplicate": 4, "unreadable": 1}  # two of the six have long traces besides
    assert {kept is not None or gone is not None for _, _, gone, kept in ask(folder, sql[19])} == {True}
    assert {tool for tool, _ in ask(folder, sql[9])} <= {"search"}
    assert sum(row[3] for row in ask(folder, sql[3])) == pytest.approx(1, abs=0.01)
    assert all(by_rule <= most for _, by_rule, most in ask(folder, sql[11]))
    assert any(stripped for *_, stripped in ask(folder, sql[10]))


def test_records_of_all_generators_and_a_sharegpt_file_make_one_blend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    made = blend_of_all_generators(tmp_path)
    sources = made["sources"]
    assert [row["rows"] for row in made["sources"]] == [3] * len(sources)
    rows = ask(tmp_path, "SELECT messages, tools, reasoning, metadata, generator FROM samples")
    assert {row[4] for row in rows} >= {"external"} and len(sources) >= 10
    names = ("messages", "tools", "reasoning", "metadata", "generator")
    for row in rows:
        faults = list(row_faults(foreign_row_to_record(dict(zip(names, row, strict=True))), CONTROL))
        assert not {fault.check for fault in faults} & {"role_order", "control_token", "no_assistant"}, faults


def test_the_docs_name_every_reason_and_every_check() -> None:
    docs = (ROOT / "docs/blends.md").read_text(encoding="utf-8")
    for reason in LOSSES:
        assert f"`{reason}`" in docs, reason
    source = (ROOT / "blends/lint.py").read_text(encoding="utf-8")
    checks = {*re.findall(r'Fault\("(\w+)"', source), *WARNINGS, "mixed_types"}
    assert len(checks) > 12
    for check in checks:
        assert f"`{check}`" in docs, check
