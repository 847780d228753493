"""`gristmill query`: the views of runs and blends, also of empty and moved ones, and errors in one sentence."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.parquet as pq
import pytest

from blends.build import build
from gristmill.cli import main
from gristmill.testing import FaultServer
from schemas import Record, assistant, user
from schemas.arrow import CALLS, RECORDS, REJECTS, records_to_table
from schemas.blend_config import BlendConfig
from tests.conftest import CLI
from tests.test_cli import write_config


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Query = Callable[..., Done]


@pytest.fixture
def query(capsys: pytest.CaptureFixture[str]) -> Query:
    """`query(DIR, SQL, ...)` is the command, without the half second of a new process."""

    def run(*arguments: str | Path) -> Done:
        status = main(["query", *map(str, arguments)])
        return Done(status, *capsys.readouterr())

    return run


def rows_of(done: Done) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)  # not orjson: large integers
    return rows


@pytest.fixture
def blend(tmp_path: Path) -> Path:
    """A blend in a folder whose name has characters that mean something in SQL and in patterns."""
    rows = [Record(messages=[user(f"Q{n}"), assistant("A")], metadata={"n": n, "deep": {"x": "y"}}) for n in range(20)]
    pq.write_table(records_to_table(rows), tmp_path / "a.parquet")
    source = {"name": "a", "path": str(tmp_path / "a.parquet"), "weight": 1, "filter": "metadata ->> '$.n' <> '3'"}
    out = tmp_path / "it's [1]*"
    build(
        BlendConfig.model_validate(
            {"out": out, "total": 15, "sources": [source], "splits": {"train": 0.8, "valid": 0.2}}
        )
    )
    return out


def test_a_run_has_its_views_and_is_brought_up_to_date(cli: CLI, query: Query, tmp_path: Path) -> None:
    with FaultServer() as server:
        write_config(tmp_path, server.url)
        assert cli("generate", "run.yaml").returncode == 0
    run = tmp_path / "runs/run"
    summary = orjson.loads((run / "summary.json").read_bytes())
    for derived in ("records", "rejects", "calls.parquet", "summary.json"):  # as after a kill before the export
        shutil.rmtree(run / derived) if (run / derived).is_dir() else (run / derived).unlink()
    funnel = rows_of(
        query(run, "SELECT status, sum(tasks)::INTEGER AS tasks FROM funnel GROUP BY ALL", "--format", "json")
    )
    counts = {row["status"]: row["tasks"] for row in funnel}
    assert counts.pop("accepted") == summary["accepted"] > 0
    assert sum(counts.values()) == summary["rejected"] + summary["failed"] > 0
    counted = "SELECT (SELECT count(*) FROM records) AS records, (SELECT count(*) FROM calls) AS calls, "
    counted += "(SELECT sum(input_tokens)::BIGINT FROM calls) AS input"
    (row,) = rows_of(query(run, counted, "--format", "json"))
    assert row == {"records": summary["records"], "calls": summary["calls"], "input": summary["tokens"]["input"]}


def test_an_empty_run_has_all_columns(query: Query, tmp_path: Path) -> None:
    (tmp_path / "run/records").mkdir(parents=True)
    for view, schema in (("records", RECORDS), ("rejects", REJECTS), ("calls", CALLS)):
        done = query(tmp_path / "run", f"FROM {view}", "--format", "csv")
        assert done.stdout == ",".join(schema.names) + "\n"
        assert rows_of(query(tmp_path / "run", f"FROM {view}", "--format", "json")) == []
    assert rows_of(query(tmp_path / "run", "FROM funnel", "--format", "json")) == [
        {"stage": "", "reason": "", "status": "accepted", "tasks": 0}
    ]


def test_a_blend_has_its_views_wherever_it_lies(query: Query, blend: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "b"
    moved.parent.mkdir()
    blend.rename(moved)
    split = rows_of(query(moved, "SELECT split, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1", "--format", "json"))
    assert split == [{"split": "train", "n": 12}, {"split": "valid", "n": 3}]
    (columns,) = rows_of(query(moved, "SELECT list(column_name) AS c FROM (DESCRIBE samples)", "--format", "json"))
    computed = ["n_turns", "n_tools", "n_calls", "score"]
    assert columns["c"] == [*RECORDS.names, "source", "split", "tokens", "supervised_tokens", *computed]
    (tokens,) = rows_of(query(moved, "SELECT count(tokens) AS n FROM samples", "--format", "json"))
    assert tokens == {"n": 0}  # none were counted
    (source,) = rows_of(query(moved, "FROM sources", "--format", "json"))
    assert (source["rows_read"], source["filtered"], source["not_drawn"], source["rows"]) == (20, 1, 4, 15)
    (dropped,) = rows_of(
        query(moved, "SELECT messages, metadata FROM dropped WHERE reason = 'filter'", "--format", "json")
    )
    assert dropped["messages"][0]["content"] == "Q3" and orjson.loads(dropped["metadata"])["n"] == 3
    splits = rows_of(query(moved, "SELECT split, rows FROM splits ORDER BY rows", "--format", "json"))
    assert splits == [{"split": "valid", "rows": 3}, {"split": "train", "rows": 12}]


def test_json_columns_are_read_into_without_an_extension(query: Query, blend: Path) -> None:
    sql = (
        "SELECT metadata -> '$.deep' AS j, metadata ->> '$.deep.x' AS t, (metadata ->> 'n')::INTEGER AS n FROM samples"
    )
    rows = rows_of(query(blend, sql, "--format", "json"))
    assert rows[0] == {"j": '{"x":"y"}', "t": "y", "n": rows[0]["n"]} and len(rows) == 15


NUMBERS = """
    SELECT 170141183460469231731687303715884105727 AS h, 0.1::DOUBLE AS d,
           12345678901234567890.12345::DECIMAL(38, 5) AS x, 'a,"b' AS s, NULL AS e, [1, 2] AS l
"""


def test_numbers_are_exact_in_every_format(query: Query, blend: Path) -> None:
    (row,) = rows_of(query(blend, NUMBERS, "--format", "json"))
    assert row["h"] == 2**127 - 1 and row["d"] == 0.1 and row["x"] == "12345678901234567890.12345"
    assert row["e"] is None and row["l"] == [1, 2]
    (cells,) = csv.DictReader(io.StringIO(query(blend, NUMBERS, "--format", "csv").stdout))
    assert cells == {
        "h": str(2**127 - 1),
        "d": "0.1",
        "x": "12345678901234567890.12345",
        "s": 'a,"b',
        "e": "",
        "l": "[1, 2]",
    }
    table = query(blend, NUMBERS).stdout
    assert all(text in table for text in (str(2**127 - 1), "12345678901234567890.12345", "0.1", "NULL"))


def test_a_long_table_is_cut_and_says_so(query: Query, blend: Path) -> None:
    done = query(blend, "SELECT i FROM range(1500) AS t(i)")
    assert done.stdout.splitlines()[-1] == "The first 1000 rows; --format csv or json prints all."
    assert len(query(blend, "SELECT i FROM range(1500) AS t(i)", "--format", "csv").stdout.splitlines()) == 1501


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nope FROM samples", 'Binder Error: Referenced column "nope" not found in FROM clause!'),
        ("SELEC 1", "Parser Error: syntax error"),
        ("SELECT error('boom') FROM samples", "boom"),
        ("", "the SQL holds no query"),
        ("DELETE FROM blend.dropped", "read-only"),
        ("FROM 'https://example.org/a.parquet'", "httpfs"),
    ],
)
def test_what_duckdb_refuses_is_one_sentence(query: Query, blend: Path, sql: str, words: str) -> None:
    done = query(blend, sql)
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "LINE 1" not in done.stderr


def test_another_folder_is_refused(query: Query, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = query(folder, "SELECT 1")
        assert done.returncode == 2 and "is neither a run" in done.stderr
    (tmp_path / "blend.duckdb").write_bytes(b"not a database")
    (tmp_path / "run/records").mkdir(parents=True)
    (tmp_path / "run/records/part-00000.parquet").write_bytes(b"torn")
    for folder in (tmp_path, tmp_path / "run"):
        done = query(folder, "SELECT 1")
        assert done.returncode == 2 and "can't be opened" in done.stderr and "Traceback" not in done.stderr
