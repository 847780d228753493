"""As many cells as there are cores, each started when it is first needed, and thrown away after anything unusual."""

import asyncio
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from gristmill.embedded_server import core_count
from gristmill.errors import GristmillError, TaskFailed
from gristmill.sandbox.cells import Cell, CellDied
from gristmill.sandbox.engines import choose
from gristmill.sandbox.model import Run, Snippet

ATTEMPTS = 2
"""A cell that dies may do so by chance, or by a snippet that found a way to kill it: only the second time tells."""


@contextmanager
def open_pool(size: int | None = None) -> Iterator["Pool"]:
    """A pool of the best engine here; GristmillError where there is none, or where it can't start a cell."""
    pool = Pool(choose(), size or core_count())
    try:
        pool.warm()
        yield pool
    finally:
        pool.close()


class Pool:
    """Each of its threads runs one snippet at a time; threads live as long as the pool, as a cell's starter must."""

    def __init__(self, make_cell: Callable[[], Cell], size: int) -> None:
        self._make_cell = make_cell
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="sandbox")
        self._places: queue.LifoQueue[Cell | None] = queue.LifoQueue()  # None: no cell is there yet
        for _ in range(size):
            self._places.put(None)
        self._alive: set[Cell] = set()
        self._closed = False

    async def run(self, snippet: Snippet) -> Run:
        """How it ended. Waits for a free cell; TaskFailed where none can be started."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, snippet)

    def warm(self) -> None:
        """Starts the first cell: an engine that can't do so is found out before it is needed."""
        try:
            self._threads.submit(self._warm).result()
        except TaskFailed as failed:
            raise GristmillError(f"the sandbox can't be started: {failed}.") from None

    def _warm(self) -> None:
        self._places.get()
        self._places.put(self._start())

    def close(self) -> None:
        self._closed = True
        for cell in tuple(self._alive):
            cell.kill()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, snippet: Snippet) -> Run:
        for _ in range(ATTEMPTS):
            cell = self._places.get()
            keep = None
            try:
                cell = cell or self._start()
                run = cell.run(snippet)
                if run.status in ("ok", "error"):
                    keep = cell
                return run
            except CellDied as died:
                last = Run(status="killed", stderr=str(died), engine=cell.engine if cell else "")
            finally:
                if cell is not None and keep is None:
                    self._discard(cell)
                self._places.put(keep)
        return last

    def _start(self) -> Cell:
        reason = ""
        for _ in range(ATTEMPTS):
            cell = self._make_cell()
            self._alive.add(cell)
            try:
                cell.start()
            except CellDied as died:
                reason = str(died)
            else:
                if not self._closed:
                    return cell
            self._discard(cell)
            if self._closed:  # `close` may have come too early to end this one
                raise TaskFailed("sandbox", "the run is stopping")
        raise TaskFailed("sandbox", f"no cell can be started: {reason}")

    def _discard(self, cell: Cell) -> None:
        self._alive.discard(cell)
        cell.kill()
