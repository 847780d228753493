"""What the steps of a blend share: the store, the rows, a folder for what does not fit into memory, an executor."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from blends.executor import Executor
from blends.stage import Stage
from blends.store import registered

Say = Callable[[str], None]
"""Hears what is being done."""


class Workbench(NamedTuple):
    store: duckdb.DuckDBPyConnection
    stage: Stage
    folder: Path
    executor: Executor
    say: Say

    def pool(self, columns: list[str], view: str = "pool") -> Iterator[pa.Table]:
        """These columns and `row` of the rows in a view of the store, batch by batch."""
        rows = self.store.sql(f"SELECT row FROM {view} ORDER BY row").fetchnumpy()["row"]
        yield from self.stage.chosen(rows, columns)

    def texts(self, rows: pa.Table) -> pa.StringArray:
        """What is said in each row of a table with the columns `row` and `messages`, in the order of `row`."""
        with registered(self.store, "batch", rows.select(["row", "messages"])):
            texts = self.store.sql("SELECT said(messages) AS said FROM batch ORDER BY row").to_arrow_table()["said"]
        return texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()
