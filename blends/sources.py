"""Reads the sources of a blend: runs, blends, parquet, .jsonl, Arrow and hub datasets, in our columns or in others'.

A row in the columns of a record passes as it is; any other is brought into them (schemas/chat_shapes.py). A row that
can't be read is counted and listed with its place and its fault, never a reason to stop, unless every row of
a source is so.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from blends.store import Expressions, add_keys, registered
from blends.workbench import Workbench
from gristmill.errors import ConfigError, EndpointError
from gristmill.seeds import BadSeed, read_lines, read_rows
from gristmill.views import BLEND_FILE, open_run, sentence
from schemas.arrow import RECORDS, foreign_row_to_record, records_to_table
from schemas.blend_config import Source
from schemas.records import Record

BATCH_ROWS = 4096
BATCH_CHARACTERS = 16_000_000
EXTERNAL = "external"
_HUB = "hf://"
_SUFFIXES = (".parquet", ".jsonl", ".json", ".arrow")
_KEYS = {"condition": "filter", "preference": "dedup.prefer", "bucket": "quota.by"}  # as the config calls them
_TEXT_COLUMNS = ("uuid", "generator", "version", "category", "task_id", "license")


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

    name: str
    inputs: list[Input]
    expressions: Expressions = Expressions()
    earlier: bool = False


def locate(source: Source, prefer: str | None) -> Located:
    """Finds the files of a source; ConfigError where there are none, EndpointError where the hub can't be asked."""
    own = {
        "condition": source.filter,
        "preference": prefer,
        "bucket": source.quota.by if source.quota else None,
    }
    expressions = Expressions(**{name: sql for name, sql in own.items() if sql is not None})
    return Located(f"source {source.name}", inputs_at(source.path, f"source {source.name}"), expressions)


def locate_earlier(path: str) -> Located:
    """The same for an earlier release, of which all splits count."""
    where = f"gates.dedup.against: {path}"
    return Located(where, inputs_at(path, where, splits=("train", "valid")), earlier=True)


def inputs_at(path: str, where: str, splits: tuple[str, ...] = ("train",)) -> list[Input]:
    """The files of a dataset, or its commit on the hub; of a blend those of `splits`. ConfigError where there are none.

    A blend's valid split is read only where it is asked for: what is trained on must not come from there.
    """
    if path.startswith(_HUB):
        return [_resolve_on_hub(path, where)]
    place = Path(path)
    if place.is_dir():
        files = _files_in(place, splits)
        if not files:
            raise ConfigError(f"{where}: {path} is no run and holds no .parquet file.")
    elif place.suffix in _SUFFIXES and place.is_file():
        files = [place]
    else:
        raise ConfigError(
            f"{where}: {path} is no folder and no {', '.join(_SUFFIXES)} file that exists "
            "(paths are relative to the working directory)."
        )
    return [Input(str(file), sha256=_sha256(file)) for file in files]


def _files_in(folder: Path, splits: tuple[str, ...]) -> list[Path]:
    """The files of a run, of a blend, of `save_to_disk` (also of several splits), or any .parquet files."""
    open_run(folder)
    if (folder / BLEND_FILE).is_file():
        return [path for split in splits for path in sorted((folder / split).glob("*.parquet"))]
    if (folder / "records").is_dir():
        return sorted((folder / "records").glob("*.parquet"))
    if (folder / "dataset_dict.json").is_file():
        return [path for split in splits for path in sorted((folder / split).glob("*.arrow"))]
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data-*.arrow"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_expressions(store: duckdb.DuckDBPyConnection, located: Located) -> None:
    """ConfigError with DuckDB's own sentence where a source's SQL is no expression over the columns of a record."""
    for name, sql in located.expressions._asdict().items():
        query = f"SELECT 1 FROM shape WHERE ((\n{sql}\n) IS NULL)"
        if name == "condition":
            query = f"SELECT 1 FROM shape WHERE (\n{sql}\n)"
        try:
            if len(store.extract_statements(query)) != 1:
                raise ConfigError(f"{located.name}: its {_KEYS[name]} is more than one SQL expression.")
            store.sql(query).fetchall()
        except duckdb.Error as error:
            raise ConfigError(f"{located.name}: its {_KEYS[name]} fails: {sentence(error)}") from None


def read_source(bench: Workbench, number: int, located: Located, seed: int) -> None:
    """Reads every row of source `number` into the stage, and its keys into the store."""
    store, stage, before = bench.store, bench.stage, bench.stage.rows
    for found in located.inputs:
        for batch in batches(found):
            if isinstance(batch, Fault):
                store.execute("INSERT INTO unread VALUES (?, ?)", [number, f"{found.path}: {batch.detail}"])
                continue
            try:
                add_keys(store, batch, stage.rows, number, located.expressions, seed, located.earlier)
            except (duckdb.DataError, duckdb.ProgrammingError) as error:
                if located.expressions == Expressions():
                    raise
                raise ConfigError(f"{located.name}: its {_failing(store, located, batch)}: {sentence(error)}") from None
            stage.add(batch)
            bench.say(f"reading {located.name}: {stage.rows - before:,} rows")
    _check_readable(store, number, located)


def _failing(store: duckdb.DuckDBPyConnection, located: Located, batch: pa.Table) -> str:
    """Which of a source's expressions fails on these rows."""
    with registered(store, "batch", batch):
        for name, sql in located.expressions._asdict().items():
            try:
                store.sql(f"SELECT (\n{sql}\n) FROM batch").fetchall()
            except duckdb.Error:
                return f"{_KEYS[name]} fails"
    return "filter, quota or preference fails"


def _check_readable(store: duckdb.DuckDBPyConnection, number: int, located: Located) -> None:
    faults = "SELECT detail FROM unread WHERE source = $1 UNION ALL SELECT fault FROM keys WHERE source = $1"
    rows, unreadable, example = store.sql(
        f"SELECT count(*), count(detail), min(detail) FROM ({faults})", params=[number]
    ).fetchall()[0]
    if rows and unreadable == rows:
        raise ConfigError(f"{located.name}: none of its {rows} rows can be read; for example {example}.")
    if unreadable and located.earlier:
        raise ConfigError(f"{located.name}: {unreadable} of its rows can't be read; for example {example}.")


def batches(found: Input) -> Iterator[pa.Table | Fault]:
    """The rows of one input as tables in the columns of `RECORDS`, and a fault for what can't be read.

    Parquet files that have our columns pass as they are, without a Python object per row.
    """
    path = Path(found.path)
    try:
        if path.suffix != ".parquet" or not _is_ours(pq.read_schema(path)):
            yield from _foreign(rows_of(found))
            return
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata), columns=RECORDS.names):
                yield pa.Table.from_batches([batch]).select(RECORDS.names).cast(RECORDS)
    except pa.ArrowException as error:
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
        except pa.ArrowException as error:
            yield str(path), BadSeed(str(path), _unreadable(path, error))


def enumerated(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _unreadable(path: Path, error: pa.ArrowException) -> str:
    return f"not readable as {path.suffix[1:]}: {' '.join(str(error).split())}"


def _is_ours(columns: pa.Schema) -> bool:
    return all(name in columns.names and columns.field(name).type == RECORDS.field(name).type for name in RECORDS.names)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_batch_rows(file.metadata)):
            yield from batch.to_pylist()


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
                yield from batch.slice(start, BATCH_ROWS).to_pylist()


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


def first_fault(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _resolve_on_hub(path: str, where: str) -> Input:
    """The commit that a branch or tag means today, so that the manifest names what was read."""
    name, _, revision = path.removeprefix(_HUB).partition("@")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        raise ConfigError(f"{where}: a hub dataset needs the extra: pip install 'gristmill[hub]'.") from None
    try:
        commit = HfApi().dataset_info(name, revision=revision or None).sha
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ConfigError(f"{where}: {path} is not on the hub: {_first_line(error)}") from None
    except Exception as error:  # whatever the HTTP library of this version of the client raises
        raise EndpointError(f"{where}: the hub can't be asked for {path}: {error}") from error
    return Input(_HUB + name, revision=commit)


def _from_hub(location: str) -> Iterator[tuple[str, dict[str, Any] | BadSeed]]:
    try:
        yield from read_rows(location)
    except Exception as error:  # as above; our own errors are raised outside this generator
        raise EndpointError(f"{location} can't be read from the hub: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
