"""What the tests of blends share: records, files of them, and a blend of files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from blends.build import build
from gristmill import registry
from gristmill.commands.show import example_records
from gristmill.config import validate
from gristmill.views import connect
from schemas import Record, assistant, user
from schemas.arrow import foreign_row_to_record, records_to_table
from schemas.blend_config import BlendConfig


def record(number: int, question: str | None = None, **fields: Any) -> Record:
    messages = [user(question or f"Question {number}?"), assistant(f"Answer {number}.")]
    return Record(
        **{"messages": messages, "task_id": f"task-{number}", "generator": "g", "license": "CC0-1.0", **fields}
    )


def write(path: Path, records: Iterable[Record]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(records_to_table(records), path)
    return path


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else orjson.dumps(row) for row in rows))
    return path


def blend(folder: Path, sources: list[dict[str, Any]], total: int = 10, **more: Any) -> dict[str, Any]:
    content = {"out": folder / "out", "total": total, "sources": sources, **more}
    return build(validate(content, BlendConfig, "test"))


def blend_of_all_generators(folder: Path) -> dict[str, Any]:
    """A blend of the example records of every generator that has some, as runs, and of a ShareGPT file."""
    sources = []
    for name in registry.names("generators"):
        if records := [foreign_row_to_record(row) for row in example_records(name)]:
            path = write(folder / name / "records/part-00000.parquet", records).parents[1]
            sources.append({"name": name, "path": str(path), "weight": 1, "rule_made": 1.0})
    chat = [
        {"conversations": [{"from": "human", "value": f"Hi {n}"}, {"from": "gpt", "value": f"Yo {n}"}]}
        for n in range(9)
    ]
    write_lines(folder / "share.jsonl", chat)
    sources.append({"name": "share", "path": str(folder / "share.jsonl"), "weight": 1})
    return blend(folder, sources, 3 * len(sources))


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(folder / "out") as connection:
        rows: list[tuple[Any, ...]] = connection.sql(sql).fetchall()
        return rows


def parquet_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "out").glob("*/*.parquet"))}
