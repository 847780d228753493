"""Every row that a blend reads, on disk in Arrow's file format: any of them can be had again by its number.

Conversations may be megabytes long, so they stay out of the database, which works on thousands of rows at a time.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from schemas.arrow import RECORDS


class Stage:
    """Rows are numbered from 0 in the order in which they are added; none is added after the first is taken."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._writer = pa.ipc.new_file(path, RECORDS)
        self._batches: list[pa.RecordBatch] | None = None

    def add(self, rows: pa.Table) -> None:
        """Adds a table in the columns of `RECORDS`, small enough to be held in memory."""
        for batch in rows.combine_chunks().to_batches():
            self._writer.write_batch(batch)
        self.rows += rows.num_rows

    def batches(self) -> Iterator[pa.Table]:
        """All rows as they were added, with a column `row` for their numbers."""
        first = 0
        for batch in self._sealed():
            numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
            yield pa.Table.from_batches([batch]).append_column("row", numbers)
            first += batch.num_rows

    def take(self, rows: Sequence[int]) -> pa.Table:
        """The rows of these numbers, in this order; a number may occur more than once."""
        ascending = sorted(rows)
        pieces, start, first = [], 0, 0
        for batch in self._sealed():
            last = first + batch.num_rows
            end = bisect_left(ascending, last, lo=start)
            if end > start:
                pieces.append(batch.take(pa.array([row - first for row in ascending[start:end]], pa.int64())))
            start, first = end, last
        order = sorted(range(len(rows)), key=rows.__getitem__)
        places = sorted(range(len(rows)), key=order.__getitem__)  # where in `ascending` each row lies
        return pa.Table.from_batches(pieces, RECORDS).combine_chunks().take(pa.array(places, pa.int64()))

    def _sealed(self) -> list[pa.RecordBatch]:
        """The batches, mapped into memory: what is not used is not read."""
        if self._batches is None:
            self._writer.close()
            reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return self._batches
