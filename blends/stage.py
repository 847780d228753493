"""Rows on disk in Arrow's file format: any of them can be had again by its number, or all in another order.

Conversations may be megabytes long, so they stay out of the database, which works on thousands of rows at a time.
The files are mapped into memory, and what has been read of them is let go: a process stays small whatever their size.
"""

import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from blends.shingles import Places
from schemas.arrow import RECORDS

RUN_BYTES = 64_000_000


class Stage:
    """Rows are numbered from 0 in the order in which they are added; none is added after the first is read."""

    def __init__(self, path: Path, columns: pa.Schema = RECORDS) -> None:
        self.rows = 0
        self._path = path
        self._columns = columns
        self._firsts: list[int] = []  # the number of each batch's first row
        self._writer = pa.ipc.new_file(path, columns)

    def add(self, rows: pa.Table) -> None:
        """Adds a table in the stage's columns, small enough to be held in memory."""
        for batch in filter(len, rows.combine_chunks().to_batches()):
            self._writer.write_batch(batch)
            self._firsts.append(self.rows)
            self.rows += batch.num_rows

    def batches(self) -> Iterator[pa.Table]:
        """All rows as they were added, with a column `row` for their numbers."""
        for first, batch in zip(self._firsts, self._batches, strict=True):
            numbers = pa.array(np.arange(first, first + batch.num_rows))
            yield pa.Table.from_batches([batch]).append_column("row", numbers)
            self._let_go()

    def runs(self) -> Iterator[pa.Table]:
        """The same, RUN_BYTES or a little more at a time."""
        waiting: list[pa.Table] = []
        for batch in self.batches():
            waiting.append(batch)
            if sum(part.nbytes for part in waiting) >= RUN_BYTES:
                yield pa.concat_tables(waiting)
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting)

    def chosen(self, rows: Places, columns: list[str]) -> Iterator[pa.Table]:
        """These columns and `row` of some rows, whose numbers ascend; batch by batch."""
        for batch in self.batches():
            first = batch["row"][0].as_py()
            start, end = np.searchsorted(rows, [first, first + batch.num_rows])
            if end > start:
                yield batch.select(["row", *columns]).take(pa.array(rows[start:end] - first))

    def take(self, rows: Places) -> pa.Table:
        """The rows of these numbers, in this order; a number may occur more than once."""
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        edges = np.searchsorted(ascending, [*self._firsts, self.rows]).tolist()
        pieces = [
            batch.take(pa.array(ascending[start:end] - first))
            for first, batch, start, end in zip(self._firsts, self._batches, edges, edges[1:], strict=False)
            if end > start
        ]
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        self._let_go()
        return pa.Table.from_batches(pieces, self._columns).combine_chunks().take(pa.array(places))

    def rearranged(self, rows: Places, path: Path) -> tuple["Stage", Places]:
        """These rows in a new stage at `path` that is fast to read in their order, and the number of each in there.

        An external sort: of RUN_BYTES at a time the wanted rows are written in the wanted order. So what is read
        together lies in one stretch of each run, and nothing is read at random.
        """
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        runs, numbers = Stage(path, self._columns), np.empty_like(rows)
        for run in self.runs():
            first = run["row"][0].as_py()
            start, end = np.searchsorted(ascending, [first, first + run.num_rows])
            places = np.sort(order[start:end])
            numbers[places] = np.arange(runs.rows, runs.rows + len(places))
            runs.add(run.select(self._columns.names).take(pa.array(rows[places] - first)))
        return runs, numbers

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        self._writer.close()
        reader = pa.ipc.open_file(pa.py_buffer(self._mapped))
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]

    @cached_property
    def _mapped(self) -> mmap.mmap:
        with self._path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _let_go(self) -> None:
        """Pages of the file leave the process; what still needs some gets them again."""
        self._mapped.madvise(mmap.MADV_DONTNEED)
