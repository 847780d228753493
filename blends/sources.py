"""Reads the sources of a blend: runs, parquet, .jsonl and hub datasets, in our columns or as OpenAI-style rows.

A row that can't be read is counted and listed with its place and its fault, never a reason to stop, unless every row of
a source is so.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from blends.stage import Stage
from blends.store import add_keys
from gristmill.errors import ConfigError, EndpointError
from gristmill.seeds import BadSeed, read_rows
from gristmill.views import open_run, sentence
from schemas.arrow import RECORDS, foreign_row_to_record, records_to_table
from schemas.blend_config import Source
from schemas.records import Record

BATCH_ROWS = 4096
BATCH_CHARACTERS = 16_000_000
EXTERNAL = "external"
_HUB = "hf://"
_TEXT_COLUMNS = ("uuid", "generator", "version", "category", "task_id", "license")

Say = Callable[[str], None]


class Fault(NamedTuple):
    """A row, or a whole file, that can't be read."""

    detail: str


class Input(NamedTuple):
    """One file of a source, or one hub dataset at its resolved revision."""

    path: str
    sha256: str | None = None
    revision: str | None = None


class Located(NamedTuple):
    """A source whose inputs have been found."""

    source: Source
    inputs: list[Input]


def locate(source: Source) -> Located:
    """Finds the files of a source; ConfigError where there are none, EndpointError where the hub can't be asked."""
    if source.path.startswith(_HUB):
        return Located(source, [_resolve_on_hub(source)])
    path = Path(source.path)
    if path.is_dir():
        open_run(path)
        is_run = (path / "records").is_dir()
        files = sorted((path / "records" if is_run else path).glob("*.parquet"))
        if not files:
            raise ConfigError(f"source {source.name}: {path} is no run and holds no .parquet file.")
    elif path.suffix in (".parquet", ".jsonl") and path.is_file():
        files = [path]
    else:
        raise ConfigError(
            f"source {source.name}: {path} is no folder and no .parquet or .jsonl file that exists "
            "(paths are relative to the working directory)."
        )
    return Located(source, [Input(str(file), sha256=_sha256(file)) for file in files])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_filter(store: duckdb.DuckDBPyConnection, source: Source) -> None:
    """ConfigError with DuckDB's own sentence where a filter is no expression over the columns of a record."""
    if source.filter is None:
        return
    query = f"SELECT 1 FROM shape WHERE (\n{source.filter}\n)"
    try:
        if len(store.extract_statements(query)) != 1:
            raise ConfigError(f"source {source.name}: its filter is more than one SQL expression.")
        store.sql(query).fetchall()
    except duckdb.Error as error:
        raise _bad_filter(source, error) from None


def read_source(
    store: duckdb.DuckDBPyConnection, stage: Stage, number: int, located: Located, seed: int, say: Say
) -> None:
    """Reads every row of source `number` into the stage, and its keys into the store."""
    source, before = located.source, stage.rows
    for found in located.inputs:
        for batch in _batches(found):
            if isinstance(batch, Fault):
                store.execute("INSERT INTO unread VALUES (?, ?)", [number, f"{found.path}: {batch.detail}"])
                continue
            try:
                add_keys(store, batch, stage.rows, number, source.filter or "true", seed)
            except (duckdb.DataError, duckdb.ProgrammingError) as error:
                if source.filter is None:
                    raise
                raise _bad_filter(source, error) from None
            stage.add(batch)
            say(f"reading {source.name}: {stage.rows - before:,} rows")
    _check_readable(store, number, source)


def _check_readable(store: duckdb.DuckDBPyConnection, number: int, source: Source) -> None:
    faults = "SELECT detail FROM unread WHERE source = $1 UNION ALL SELECT fault FROM keys WHERE source = $1"
    rows, unreadable, example = store.sql(
        f"SELECT count(*), count(detail), min(detail) FROM ({faults})", params=[number]
    ).fetchall()[0]
    if rows and unreadable == rows:
        raise ConfigError(f"source {source.name}: none of its {rows} rows can be read; for example {example}.")


def _bad_filter(source: Source, error: duckdb.Error) -> ConfigError:
    return ConfigError(f"source {source.name}: its filter fails: {sentence(error)}")


def _batches(found: Input) -> Iterator[pa.Table | Fault]:
    """The rows of one input as tables in the columns of `RECORDS`, and a fault for what can't be read."""
    if found.revision is not None:
        yield from _foreign(_from_hub(f"{found.path}@{found.revision}"))
        return
    if found.path.endswith(".jsonl"):
        yield from _foreign(read_rows(found.path))
        return
    try:
        yield from _parquet(Path(found.path))
    except pa.ArrowException as error:
        yield Fault(f"not readable as parquet: {' '.join(str(error).split())}")


def _parquet(path: Path) -> Iterator[pa.Table | Fault]:
    """Files that have our columns pass as they are, without a Python object per row."""
    with pq.ParquetFile(path) as file:
        columns = file.schema_arrow
        native = all(
            name in columns.names and columns.field(name).type == RECORDS.field(name).type for name in RECORDS.names
        )
        names = RECORDS.names if native else columns.names
        batches = file.iter_batches(batch_size=_batch_rows(file.metadata), columns=names)
        if native:
            yield from (pa.Table.from_batches([batch]).select(names).cast(RECORDS) for batch in batches)
        else:
            rows = (row for batch in batches for row in batch.to_pylist())
            yield from _foreign((f"row {number}", row) for number, row in enumerate(rows, start=1))


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
            record = _adapt(row)
        except ValueError as error:
            yield Fault(f"{where}: {_first_fault(error)}")
            continue
        records.append(record)
        characters += sum(len(message.content) for message in record.messages)
        if len(records) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield records_to_table(records)
            records, characters = [], 0
    if records:
        yield records_to_table(records)


def _adapt(raw: dict[str, Any] | BadSeed) -> Record:
    """A row of anybody's as a record. ValueError says what is wrong with it."""
    if isinstance(raw, BadSeed):
        raise ValueError(raw.detail)
    row: dict[str, Any] = orjson.loads(orjson.dumps(raw, default=str))  # dates and decimals of parquet become text
    for column in _TEXT_COLUMNS:
        if isinstance(row.get(column), int | float):
            row[column] = str(row[column])
    return foreign_row_to_record({**row, "generator": row.get("generator") or EXTERNAL})


def _first_fault(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _resolve_on_hub(source: Source) -> Input:
    """The commit that a branch or tag means today, so that the manifest names what was read."""
    name, _, revision = source.path.removeprefix(_HUB).partition("@")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        raise ConfigError(
            f"source {source.name}: a hub dataset needs the extra: pip install 'gristmill[hub]'."
        ) from None
    try:
        commit = HfApi().dataset_info(name, revision=revision or None).sha
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ConfigError(f"source {source.name}: {source.path} is not on the hub: {_first_line(error)}") from None
    except Exception as error:  # whatever the HTTP library of this version of the client raises
        raise EndpointError(f"source {source.name}: the hub can't be asked for {source.path}: {error}") from error
    return Input(_HUB + name, revision=commit)


def _from_hub(location: str) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    try:
        yield from read_rows(location)
    except Exception as error:  # as above; our own errors are raised outside this generator
        raise EndpointError(f"{location} can't be read from the hub: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
