"""Reads the sources of a blend: runs, parquet, .jsonl and hub datasets, in our columns or as OpenAI-style rows.

A row that can't be read is counted and listed with its place and its fault, never a reason to stop, unless every row of
a source is so.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from blends.store import add_rows
from gristmill.errors import ConfigError, EndpointError
from gristmill.seeds import BadSeed, read_rows
from gristmill.views import open_run, sentence
from schemas.arrow import RECORDS, foreign_row_to_record, records_to_table
from schemas.blend_config import Source
from schemas.records import Record

NATIVE_BATCH = 4096
FOREIGN_BATCH = 512
EXTERNAL = "external"
_HUB = "hf://"
_TEXT_COLUMNS = ("uuid", "generator", "version", "category", "task_id", "license")

Say = Callable[[str], None]


class Fault(NamedTuple):
    """A row, or a whole file, that can't be read."""

    detail: str


@dataclass
class Input:
    """One file of a source, or one hub dataset at its resolved revision: what goes into the manifest."""

    path: str
    sha256: str | None = None
    revision: str | None = None

    def as_manifest(self) -> dict[str, str]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass
class Located:
    """A source whose inputs have been found."""

    source: Source
    inputs: list[Input] = field(default_factory=list)


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
    return Located(source, [Input(str(file)) for file in files])


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


def read_source(store: duckdb.DuckDBPyConnection, index: int, located: Located, say: Say) -> None:
    """Reads every row of source number `index` into the store."""
    source, rows = located.source, 0
    condition = source.filter or "true"
    for found in located.inputs:
        for batch in _batches(found):
            if isinstance(batch, Fault):
                store.execute(
                    "INSERT INTO aside VALUES (?, NULL, 'unreadable', ?, NULL, NULL)",
                    [index, f"{found.path}: {batch.detail}"],
                )
                rows += 1
                continue
            try:
                add_rows(store, index, batch, found.path, condition)
            except duckdb.ConversionException as error:
                raise _bad_filter(source, error) from None
            rows += batch.num_rows
            say(f"reading {source.name}: {rows:,} rows")
    _check_readable(store, index, source, rows)


def _check_readable(store: duckdb.DuckDBPyConnection, index: int, source: Source, rows: int) -> None:
    unreadable, example = store.sql(
        "SELECT count(*), min(detail) FROM aside WHERE source = ? AND reason = 'unreadable'", params=[index]
    ).fetchall()[0]
    if rows and unreadable == rows:
        raise ConfigError(f"source {source.name}: none of its {rows} rows can be read; for example {example}.")


def _bad_filter(source: Source, error: duckdb.Error) -> ConfigError:
    return ConfigError(f"source {source.name}: its filter fails: {sentence(error)}")


def _batches(found: Input) -> Iterator[pa.Table | Fault]:
    """The rows of one input as tables in the columns of `RECORDS`, and a fault for what can't be read."""
    if found.revision is not None:
        yield from _foreign(read_rows(f"{found.path}@{found.revision}"))
        return
    path = Path(found.path)
    with path.open("rb") as file:
        found.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if path.suffix == ".jsonl":
        yield from _foreign(read_rows(found.path))
        return
    try:
        yield from _parquet(path)
    except pa.ArrowException as error:
        yield Fault(f"not readable as parquet: {' '.join(str(error).split())}")


def _parquet(path: Path) -> Iterator[pa.Table | Fault]:
    """Files that have our columns pass as they are, without a Python object per row."""
    with pq.ParquetFile(path) as file:
        columns = file.schema_arrow
        native = all(
            name in columns.names and columns.field(name).type == RECORDS.field(name).type for name in RECORDS.names
        )
        if native:
            for batch in file.iter_batches(batch_size=NATIVE_BATCH, columns=RECORDS.names):
                yield pa.Table.from_batches([batch]).select(RECORDS.names).cast(RECORDS)
        else:
            rows = (row for batch in file.iter_batches(batch_size=FOREIGN_BATCH) for row in batch.to_pylist())
            yield from _foreign((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _foreign(rows: Iterable[tuple[str, dict[str, Any] | BadSeed]]) -> Iterator[pa.Table | Fault]:
    for batch in batched(rows, FOREIGN_BATCH):
        records = []
        for where, row in batch:
            try:
                records.append(_adapt(row))
            except ValueError as error:
                yield Fault(f"{where}: {_first_fault(error)}")
        if records:
            yield records_to_table(records)


def _adapt(row: dict[str, Any] | BadSeed) -> Record:
    """A row of anybody's as a record. ValueError says what is wrong with it."""
    if isinstance(row, BadSeed):
        raise ValueError(row.detail)
    row = orjson.loads(orjson.dumps(row, default=str))  # dates and decimals of parquet become text
    for column in _TEXT_COLUMNS:
        if isinstance(row.get(column), int | float):
            row[column] = str(row[column])
    if isinstance(row.get("messages"), list):
        row["messages"] = [_adapt_message(message) for message in row["messages"]]
    return foreign_row_to_record({**row, "generator": row.get("generator") or EXTERNAL})


def _adapt_message(message: Any) -> Any:
    """Fields that are null are left out, text parts joined, and arguments that are an object become a JSON string."""
    if not isinstance(message, dict):
        return message
    message = {key: value for key, value in message.items() if value is not None}
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        message["content"] = "".join(str(part.get("text") or "") for part in content)
    for call in message.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
            function["arguments"] = orjson.dumps(function["arguments"]).decode()
    return message


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
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise ConfigError(
            f"source {source.name}: a hub dataset needs the extra: pip install 'gristmill[hub]'."
        ) from None
    try:
        commit = HfApi().dataset_info(name, revision=revision or None).sha
    except (HfHubHTTPError, OSError) as error:
        raise EndpointError(f"source {source.name}: the hub gives no dataset {source.path}: {error}") from None
    return Input(_HUB + name, revision=commit)
