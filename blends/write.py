"""Writes a blend: parquet in the columns of `RECORDS`, and blend.duckdb with what the parquet does not tell."""

from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow.parquet as pq

from blends.edits import Edit, edited, masked_kinds
from blends.store import count
from blends.workbench import Workbench
from gristmill.views import BLEND_FILE, OFFLINE, samples_sql, sql_text
from schemas.arrow import RECORDS
from schemas.blend_config import BlendConfig, PIIKind

SPLITS = ("train", "valid")
GROUP_CHARACTERS = 16_000_000
MOST_ROWS_PER_GROUP = 10_000
GROUPS_PER_CHUNK = 4  # held in memory at a time
CHUNKS_PER_FILE = 8


class Size(NamedTuple):
    """How many rows a row group, a chunk and a file hold: few where conversations are long."""

    group: int
    chunk: int
    file: int


_PLACE = """
    CREATE TABLE place AS
    SELECT split, row, source,
           row_number() OVER (PARTITION BY split ORDER BY {order} chance, digest, source, copy) - 1 AS position
    FROM (SELECT *, md5_number($1 || '/order/' || copy || '/' || uuid) AS chance
          FROM (SELECT split, row, unnest(range(copies)) AS copy FROM split_of) JOIN keys USING (row)
          LEFT JOIN size USING (row))
"""
_ORDERS = {"shuffled": "", "length": "coalesce(tokens, characters),", "difficulty": "difficulty NULLS LAST,"}


def write_parquet(bench: Workbench, folder: Path, config: BlendConfig) -> None:
    """Writes folder/train and folder/valid in an order that depends on nothing but rows and config."""
    store = bench.store
    store.execute(_PLACE.format(order=_ORDERS[config.order]), [str(config.seed)])
    size = _size(store)
    for split in SPLITS:
        _write_split(bench, split, folder / split, size, masked_kinds(config))
    store.execute(
        """
        CREATE TABLE placement AS
        SELECT printf('%s/part-%05d.parquet', split, position // ?) AS file, position % ? AS file_row,
               name AS source, split, size.tokens, size.supervised_tokens
        FROM place JOIN sources ON number = source LEFT JOIN size USING (row) ORDER BY file, file_row
        """,
        [size.file, size.file],
    )


def _size(store: duckdb.DuckDBPyConnection) -> Size:
    mean = store.sql("SELECT avg(characters) FROM place JOIN keys USING (row)").fetchall()[0][0] or 1
    group = max(1, min(MOST_ROWS_PER_GROUP, int(GROUP_CHARACTERS / mean)))
    return Size(group, GROUPS_PER_CHUNK * group, CHUNKS_PER_FILE * GROUPS_PER_CHUNK * group)


def _write_split(bench: Workbench, split: str, folder: Path, size: Size, kinds: list[PIIKind]) -> None:
    """part-00000.parquet, ...; where there are no rows, one file that tells the columns."""
    folder.mkdir()
    rows = count(bench.store, f"place WHERE split = {sql_text(split)}")
    for part, start in enumerate(range(0, max(rows, 1), size.file)):
        with pq.ParquetWriter(folder / f"part-{part:05d}.parquet", RECORDS, compression="zstd") as writer:
            for first in range(start, min(start + size.file, rows), size.chunk):
                placed = bench.store.sql(_CHUNK, params=[split, first, size.chunk]).fetchall()
                chunk = bench.stage.take([row for row, _, _ in placed])
                edits = [Edit(masked, effort) if masked or effort else None for _, masked, effort in placed]
                writer.write_table(edited(chunk, edits, kinds), row_group_size=size.group)
            bench.say(f"writing {split}: {min(start + size.file, rows):,} of {rows:,} rows")


_CHUNK = """
    SELECT row, masked, effort
    FROM (SELECT row, position FROM place WHERE split = $1 AND position >= $2 AND position < $2 + $3)
    LEFT JOIN (SELECT row, bool_or(masked) AS masked, any_value(effort) AS effort FROM edit GROUP BY row) USING (row)
    ORDER BY position
"""


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
    for batch in bench.stage.batches():
        store.register("batch", batch)
        store.execute(
            "INSERT INTO blend.dropped SELECT batch.uuid, name, reason, detail, messages, metadata "
            "FROM batch JOIN lost USING (row) JOIN keys USING (row) JOIN sources ON number = source"
        )
        store.unregister("batch")
    store.execute("DETACH blend")


def add_samples(folder: Path) -> None:
    """The view `samples` on absolute paths; DuckDB makes a view only where its files lie already."""
    with duckdb.connect(folder / BLEND_FILE, config={**OFFLINE}) as blend:
        blend.execute(f"CREATE VIEW samples AS {samples_sql(folder.absolute(), 'placement')}")
