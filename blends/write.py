"""Writes a blend: parquet in the columns of `RECORDS`, and blend.duckdb with what the parquet does not tell."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blends.edits import EDITS, Edit, edited, masked_kinds
from blends.shingles import Places
from blends.stage import Stage
from blends.store import count, registered
from blends.workbench import Workbench
from gristmill.views import BLEND_FILE, OFFLINE, samples_sql, sql_text
from schemas.arrow import RECORDS
from schemas.blend_config import BlendConfig, PIIKind

SPLITS = ("train", "valid")
GROUP_CHARACTERS = 16_000_000
MOST_ROWS_PER_GROUP = 10_000
GROUPS_PER_CHUNK = 4  # held in memory at a time
GROUPS_PER_FILE = 32

_PLACE = f"""
    CREATE TABLE place AS
    SELECT split, row, source, masked, effort,
           row_number() OVER (PARTITION BY split ORDER BY {{order}} chance, digest, source, copy) - 1 AS position
    FROM (SELECT *, md5_number($1 || '/order/' || copy || '/' || uuid) AS chance
          FROM (SELECT split, row, unnest(range(copies)) AS copy FROM split_of) JOIN keys USING (row)
          LEFT JOIN size USING (row) LEFT JOIN ({EDITS}) USING (row))
"""
_ORDERS = {"shuffled": "", "length": "coalesce(tokens, characters),", "difficulty": "difficulty NULLS LAST,"}
_PLACED = "SELECT row, characters::BIGINT AS characters FROM place JOIN keys USING (row) ORDER BY split, position"
_CHUNK = "SELECT masked, effort FROM place WHERE split = $1 AND position >= $2 AND position < $3 ORDER BY position"
_PLACEMENT = """
    CREATE TABLE placement AS
    SELECT file, position - first AS file_row, name AS source, place.split, size.tokens, size.supervised_tokens
    FROM place ASOF JOIN files ON files.split = place.split AND files.first <= position
    JOIN sources ON number = source LEFT JOIN size USING (row) ORDER BY file, file_row
"""


def write_parquet(bench: Workbench, folder: Path, config: BlendConfig) -> None:
    """Writes folder/train and folder/valid in an order that depends on nothing but rows and config."""
    store, kinds = bench.store, masked_kinds(config)
    store.execute(_PLACE.format(order=_ORDERS[config.order]), [str(config.seed)])
    placed = store.sql(_PLACED).fetchnumpy()
    stage, numbers = bench.stage.rearranged(placed["row"], bench.folder / "ordered.arrow")
    train = count(store, "place WHERE split = 'train'")
    files: list[dict[str, object]] = []
    for split, part in zip(SPLITS, (slice(train), slice(train, None)), strict=True):
        rows = Split(split, numbers[part], _groups(placed["characters"][part]))
        files += _write_split(bench, stage, rows, folder / split, kinds)
    with registered(store, "files", pa.Table.from_pylist(files)):
        store.execute(_PLACEMENT)


class Split(NamedTuple):
    name: str
    numbers: Places  # of its rows in the stage from which it is written
    groups: list[tuple[int, int]]  # first and last of the rows of each row group


def _groups(characters: Places) -> list[tuple[int, int]]:
    """Row groups of at most so many rows and characters; a row that is longer has one for itself."""
    ends = np.append(0, np.cumsum(characters))
    groups, start = [], 0
    while start < len(characters):
        fitting = int(np.searchsorted(ends, ends[start] + GROUP_CHARACTERS, "right")) - 1
        end = min(max(fitting, start + 1), start + MOST_ROWS_PER_GROUP)
        groups.append((start, end))
        start = end
    return groups


def _write_split(
    bench: Workbench, stage: Stage, split: Split, folder: Path, kinds: list[PIIKind]
) -> Iterator[dict[str, object]]:
    """part-00000.parquet, ..., each with the place of its first row; without rows one file that tells the columns."""
    folder.mkdir()
    for part, first in enumerate(range(0, max(len(split.groups), 1), GROUPS_PER_FILE)):
        groups = split.groups[first : first + GROUPS_PER_FILE]
        path = folder / f"part-{part:05d}.parquet"
        with pq.ParquetWriter(path, RECORDS, compression="zstd") as writer:
            for chunk in range(0, len(groups), GROUPS_PER_CHUNK):
                _write_groups(bench, stage, split, groups[chunk : chunk + GROUPS_PER_CHUNK], kinds, writer)
        if groups:
            yield {"split": split.name, "file": f"{split.name}/{path.name}", "first": groups[0][0]}
            bench.say(f"writing {split.name}: {groups[-1][1]:,} of {len(split.numbers):,} rows")


def _write_groups(
    bench: Workbench,
    stage: Stage,
    split: Split,
    groups: list[tuple[int, int]],
    kinds: list[PIIKind],
    writer: pq.ParquetWriter,
) -> None:
    first, last = groups[0][0], groups[-1][1]
    found = bench.store.sql(_CHUNK, params=[split.name, first, last]).fetchall()
    edits = [Edit(masked, effort) if masked or effort else None for masked, effort in found]
    rows = edited(stage.take(split.numbers[first:last]), edits, kinds)
    for start, end in groups:
        writer.write_table(rows.slice(start - first, end - start))


def write_tables(bench: Workbench, folder: Path) -> None:
    """Writes blend.duckdb with `sources`, `dropped`, `splits` and `placement`; `add_samples` gives it `samples`."""
    store = bench.store
    store.execute(f"ATTACH {sql_text(str(folder / BLEND_FILE))} AS blend")
    for table in ("sources", "splits", "placement"):
        store.execute(f"CREATE TABLE blend.{table} AS FROM {table}")
    store.execute(
        "CREATE TABLE blend.dropped AS SELECT uuid, name AS source, '' AS reason, '' AS detail, messages, metadata "
        "FROM shape, sources LIMIT 0"
    )
    store.execute(
        "INSERT INTO blend.dropped SELECT NULL, name, 'unreadable', detail, NULL, NULL "
        "FROM unread JOIN sources ON number = source"
    )
    store.execute(
        "CREATE TABLE gone AS SELECT row, name, reason, detail FROM lost JOIN keys USING (row) "
        "JOIN sources ON number = source ORDER BY row"
    )
    for run in bench.stage.runs():
        with registered(store, "batch", run.select(["row", "uuid", "messages", "metadata"])):
            store.execute(
                "INSERT INTO blend.dropped SELECT uuid, name, reason, detail, messages, metadata "
                "FROM batch JOIN (FROM gone WHERE row >= $1 AND row < $1 + $2) USING (row)",
                [run["row"][0].as_py(), run.num_rows],
            )
    store.execute("DETACH blend")


def add_samples(folder: Path) -> None:
    """The view `samples` on absolute paths; DuckDB makes a view only where its files lie already."""
    with duckdb.connect(folder / BLEND_FILE, config={**OFFLINE}) as blend:
        blend.execute(f"CREATE VIEW samples AS {samples_sql(folder.absolute(), 'placement')}")
