"""The rows of one input, a file or a hub dataset: as they are there, or as tables in the columns of a record.

A row in our columns passes as it is; any other is brought into them (schemas/chat_shapes.py), or says why it can't be.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.config import first_fault
from gristmill.errors import EndpointError
from gristmill.seeds import BadSeed, read_lines, read_rows
from schemas.arrow import RECORDS, foreign_row_to_record, records_to_table
from schemas.records import Record

BATCH_ROWS = 4096
BATCH_CHARACTERS = 16_000_000
READ_BYTES = 1_000_000
EXTERNAL = "external"
_TEXT_COLUMNS = ("uuid", "generator", "version", "category", "task_id", "license")


class Fault(NamedTuple):
    """A row, or a whole file, that can't be read."""

    detail: str


class Input(NamedTuple):
    """One file of a source, or one hub dataset at its resolved revision."""

    path: str
    sha256: str | None = None
    revision: str | None = None


def batches(found: Input) -> Iterator[pa.Table | Fault]:
    """The rows of one input as tables in the columns of `RECORDS`, and a fault for what can't be read.

    Parquet files that have our columns pass as they are, without a Python object per row.
    """
    path = Path(found.path)
    try:
        if path.suffix != ".parquet" or not _is_ours(pq.read_schema(path)):
            yield from _foreign(rows_of(found))
            return
        for batch in _parquet_batches(path, RECORDS.names):
            yield pa.Table.from_batches([batch]).select(RECORDS.names).cast(RECORDS)
    except (pa.ArrowException, OSError) as error:  # OSError: what is compressed can't be unpacked
        yield Fault(_unreadable(path, error))


def rows_of(found: Input) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    """The rows of one input as they are there, each with its place."""
    path = Path(found.path)
    if found.revision is not None:
        yield from _from_hub(f"{found.path}@{found.revision}")
    elif path.suffix in (".jsonl", ".json"):
        yield from _json_rows(path)
    else:
        try:
            yield from enumerated(_arrow_rows(path) if path.suffix == ".arrow" else _parquet_rows(path))
        except (pa.ArrowException, OSError) as error:
            yield str(path), BadSeed(str(path), _unreadable(path, error))


def enumerated(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _unreadable(path: Path, error: pa.ArrowException | OSError) -> str:
    return f"not readable as {path.suffix[1:]}: {' '.join(str(error).split())}"


def _is_ours(columns: pa.Schema) -> bool:
    return all(name in columns.names and columns.field(name).type == RECORDS.field(name).type for name in RECORDS.names)


def _parquet_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of a file, read page by page: many files are one row group of gigabytes."""
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
        yield from file.iter_batches(_batch_rows(file.metadata), columns=columns)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    return (row for batch in _parquet_batches(path) for row in batch.to_pylist(maps_as_pydicts="lossy"))


def _arrow_rows(path: Path) -> Iterator[dict[str, Any]]:
    """What `datasets` keeps on disk: Arrow's streaming format, or that for files."""
    with pa.memory_map(str(path)) as file:
        try:
            reader = pa.ipc.open_stream(file)
        except pa.ArrowInvalid:
            whole = pa.ipc.open_file(file)
            reader = (whole.get_batch(number) for number in range(whole.num_record_batches))
        for batch in reader:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield from batch.slice(start, BATCH_ROWS).to_pylist(maps_as_pydicts="lossy")


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    """The rows of JSON lines, or of a .json file that is one list (as ShareGPT and Alpaca are given away)."""
    if path.suffix == ".jsonl" or not _is_list(path):
        yield from read_lines(path)
        return
    try:
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        rows = [BadSeed(str(path), f"not valid JSON: {error}")]
    for where, row in enumerated(rows):
        yield where, row if isinstance(row, dict | BadSeed) else BadSeed(where, "not a JSON object")


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).lstrip().startswith(b"[")


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Fewer rows at a time where they are long."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    mean = sum(group.total_byte_size for group in groups) / max(1, metadata.num_rows)
    return max(1, min(BATCH_ROWS, int(BATCH_CHARACTERS / max(1, mean))))


def _foreign(rows: Iterable[tuple[str, dict[str, Any] | BadSeed]]) -> Iterator[pa.Table | Fault]:
    records: list[Record] = []
    characters = 0
    for where, row in rows:
        try:
            record = adapt(row)
        except ValueError as error:
            yield Fault(f"{where}: {first_fault(error)}")
            continue
        records.append(record)
        characters += sum(len(message.content) for message in record.messages)
        if len(records) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield records_to_table(records)
            records, characters = [], 0
    if records:
        yield records_to_table(records)


def adapt(raw: dict[str, Any] | BadSeed) -> Record:
    """A row of anybody's as a record. ValueError says what is wrong with it."""
    if isinstance(raw, BadSeed):
        raise ValueError(raw.detail)
    row: dict[str, Any] = orjson.loads(orjson.dumps(raw, default=str))  # dates and decimals of parquet become text
    for column in _TEXT_COLUMNS:
        if isinstance(row.get(column), int | float):
            row[column] = str(row[column])
    return foreign_row_to_record({**row, "generator": row.get("generator") or EXTERNAL})


def _from_hub(location: str) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    try:
        yield from read_rows(location)
    except Exception as error:  # as above; our own errors are raised outside this generator
        raise EndpointError(f"{location} can't be read from the hub: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
