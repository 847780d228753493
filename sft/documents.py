"""From a blend's rows to documents: read, checked, rendered. What can't be is listed by uuid, with the reason."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from gristmill.errors import ConfigError
from gristmill.render import Mask, Renderer, RenderError, TokenIds
from schemas import Record

ROWS_AT_ONCE = 64
COLUMNS = ["uuid", "category", "messages", "tools", "reasoning", "metadata"]
EMPTY = {"category": "", "tools": "[]", "metadata": "{}"}

Watch = Callable[[str, int, int], None]  # what is being read, rows done, rows to do


class Document(NamedTuple):
    """One sequence of a record. `loss_mask[t]` is 1 where token t + 1 is supervised; the last is 0."""

    uuid: str
    input_ids: TokenIds
    loss_mask: Mask
    category: str = ""
    reasoning: str = ""
    source: str = ""  # of the blend


def unwatched(label: str, done: int, total: int) -> None:
    """A `Watch` that shows nothing."""


def render_documents(
    renderer: Renderer, records: Iterable[Record], unreadable: dict[str, str] | None = None
) -> Iterator[Document]:
    """The documents of the records, in their order. Why a record can't be rendered goes to `unreadable`, by uuid;
    without one, it is raised (RenderError)."""
    waiting = iter(records)
    while batch := list(islice(waiting, ROWS_AT_ONCE)):
        for record, sequences in zip(batch, renderer.render(batch), strict=True):
            if isinstance(sequences, RenderError):
                if unreadable is None:
                    raise sequences
                unreadable[record.uuid] = str(sequences)
            else:
                for ids, supervised in sequences:
                    yield Document(record.uuid, ids, next_token_mask(supervised), record.category, record.reasoning)


def next_token_mask(supervised: Mask) -> Mask:
    """1 where the next token of the sequence is supervised; the last token has no next one."""
    return np.append(supervised[1:], np.uint8(0))


def read_records(
    split: Path, unreadable: dict[str, str], watch: Watch = unwatched, label: str = ""
) -> Iterator[Record]:
    """The records of a split (only the columns that rendering needs, the others at their defaults). Why a row is no
    record goes to `unreadable`, by uuid."""
    total, done = count_rows(split), 0
    for batch in read_batches(split):
        yield from records_of(batch, unreadable)
        done += batch.num_rows
        watch(label, done, total)


def read_batches(split: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a split, few at a time, in the order of its files. A file is opened anew for each row group: a reader
    keeps what it has read until it ends."""
    for path in parquet_files(split):
        whole = open_parquet(path)
        missing = sorted(set(COLUMNS) - set(whole.schema_arrow.names))
        if missing:
            raise ConfigError(f"{path}: not a blend's file: without column {', '.join(missing)}.")
        try:
            for group in range(whole.num_row_groups):
                with pq.ParquetFile(path, metadata=whole.metadata) as file:
                    yield from file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=COLUMNS)
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(f"{path}: can't be read as parquet: {error}.") from None


def records_of(rows: pa.RecordBatch | pa.Table, unreadable: dict[str, str]) -> Iterator[Record]:
    for row in rows.to_pylist():
        try:
            yield _record(row)
        except (orjson.JSONDecodeError, ValidationError) as error:
            unreadable[str(row["uuid"])] = " ".join(str(error).split())


def _record(row: dict[str, Any]) -> Record:
    filled = {column: EMPTY[column] if column in EMPTY and value is None else value for column, value in row.items()}
    return Record.model_validate(
        {**filled, **{column: orjson.loads(filled[column]) for column in ("tools", "metadata")}}
    )


def count_rows(split: Path) -> int:
    return sum(open_parquet(path).metadata.num_rows for path in parquet_files(split))


def open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: can't be read as parquet: {error}.") from None


def parquet_files(split: Path) -> list[Path]:
    """The files of a split; a blend need not have a valid one."""
    paths = sorted(split.glob("*.parquet"))
    if not paths and split.name == "train":
        raise ConfigError(f"data.blend: {split} holds no parquet files; make the blend first (gristmill blend).")
    return paths
