"""Seeds from a file: one row, one task. A row that can't be read is a task that failed, never a row that is missing."""

import csv
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gristmill.config import require_file
from gristmill.errors import ConfigError, EndpointError


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
            line = line.removeprefix(BOM_UTF8) if number == 1 else line
            if line.strip():
                yield read_line(number, line)


def read_line(number: int, line: bytes) -> tuple[str, dict[str, Any] | BadSeed]:
    """(where, row) of one JSON line."""
    where = f"line:{number}"
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return where, BadSeed(where, f"not valid JSON: {error}")
    if isinstance(row, list):
        return where, BadSeed(where, "not a JSON object but a list: one object a line is wanted")
    return where, row if isinstance(row, dict) else BadSeed(where, "not a JSON object")


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        rows = (row for batch in file.iter_batches(batch_size=256) for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield f"row:{number}", row
    except (pa.ArrowException, OSError) as error:  # OSError is what damaged pages raise
        raise ConfigError(f"seeds: {path} can't be read as parquet: {_in_one_line(error)}.") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        lines = _csv_lines(reader)
        header = next(lines, [])
        if isinstance(header, str) or not _is_utf8(header) or len(set(header)) < len(header):
            raise ConfigError(f"seeds: {path} is no CSV file in UTF-8 whose first line names each column once.")
        for fields in lines:
            where = f"line:{reader.line_num}"
            if isinstance(fields, str):
                yield where, BadSeed(where, f"not valid CSV: {fields}")
            elif fields and len(fields) != len(header):
                yield where, BadSeed(where, "has not as many fields as the header")
            elif not _is_utf8(fields):
                yield where, BadSeed(where, "holds bytes that are no UTF-8 text")
            elif fields:
                yield where, dict(zip(header, fields, strict=True))


def _csv_lines(reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """The fields of each line, or what is wrong with it."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield str(error)


def _is_utf8(fields: list[str]) -> bool:
    """Whether all of them could be decoded: bytes that could not stand there as surrogates."""
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return False
    return True


def _hub(location: str) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    name, _, revision = location.removeprefix("hf://").partition("@")
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetNotFoundError
    except ImportError:
        raise ConfigError("seeds from a hub need the extra: pip install 'gristmill[hub]'.") from None
    try:
        rows = load_dataset(name, revision=revision or None, split="train", streaming=True)
        for number, row in enumerate(rows, start=1):
            yield f"row:{number}", dict(row)
    except (DatasetNotFoundError, ValueError) as error:  # ValueError: no split train, or a subset has to be named
        raise ConfigError(f"seeds: {location} can't be read: {_in_one_line(error)}.") from None
    except Exception as error:  # whatever the HTTP library of this version of the client raises
        raise EndpointError(f"seeds: the hub can't be asked for {location}: {error}") from error
