"""What the tests of blends share: records, files of them, and a blend of files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from blends.build import build
from gristmill.config import validate
from gristmill.views import connect
from schemas import Record, assistant, user
from schemas.arrow import records_to_table
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


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(folder / "out") as connection:
        rows: list[tuple[Any, ...]] = connection.sql(sql).fetchall()
        return rows


def parquet_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "out").glob("*/*.parquet"))}
