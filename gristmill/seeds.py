"""Seeds from a file: one row, one task. A row that can't be read is a task that failed, never a row that is missing."""

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gristmill.config import require_file
from gristmill.errors import ConfigError


class BadSeed(NamedTuple):
    """A row that can't become a task: `where` is its task id (such as `line:7`), `detail` what is wrong with it."""

    where: str
    detail: str


def read_rows(location: str) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    """(where, row) for every row of a .jsonl, .parquet or .csv file or of `hf://NAME@REVISION`, in its order."""
    if location.startswith("hf://"):
        yield from _hub(location)
        return
    path = Path(location)
    reader = {".jsonl": read_lines, ".parquet": _parquet, ".csv": _csv}.get(path.suffix)
    if reader is None:
        raise ConfigError(f"seeds: {path} is no .jsonl, .parquet or .csv file.")
    require_file(path, "seeds")
    yield from reader(path)


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    """The same for a file of JSON lines, whatever its name."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(BOM_UTF8)
            if line.strip():
                yield read_line(number, line)


def read_line(number: int, line: bytes) -> tuple[str, dict[str, Any] | BadSeed]:
    """(where, row) of one JSON line."""
    where = f"line:{number}"
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return where, BadSeed(where, f"not valid JSON: {error}")
    return where, row if isinstance(row, dict) else BadSeed(where, "not a JSON object")


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        rows = (row for batch in file.iter_batches(batch_size=256) for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield f"row:{number}", row
    except pa.ArrowException as error:
        raise ConfigError(f"seeds: {path} can't be read as parquet: {error}.") from None


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        for row in reader:
            where = f"line:{reader.line_num}"
            if None in row or None in row.values():
                yield where, BadSeed(where, "has not as many fields as the header")
            else:
                yield where, dict(row)


def _hub(location: str) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    name, _, revision = location.removeprefix("hf://").partition("@")
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConfigError("seeds from a hub need the extra: pip install 'gristmill[hub]'.") from None
    for number, row in enumerate(load_dataset(name, revision=revision or None, split="train", streaming=True), start=1):
        yield f"row:{number}", dict(row)
