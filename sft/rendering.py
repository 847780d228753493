"""A split's rows become shards, in as many processes as there are cores.

Each shard is some 16 MB of consecutive rows, rendered by one process. Those that are there already are kept, so an
interrupted prep goes on where it was; and because shards depend on the blend alone, the packs do not depend on how many
processes there are.
"""

import os
import pickle
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pyarrow as pa

from gristmill.embedded_server import core_count
from gristmill.errors import GristmillError
from gristmill.render import Renderer
from sft.documents import (
    Watch,
    count_rows,
    open_parquet,
    parquet_files,
    read_batches,
    records_of,
    render_documents,
)
from sft.shards import OverLong, ShardSummary, summary_path, write_shard

SHARD_BYTES = 2**24


class Task(NamedTuple):
    """What a process needs to know to render any shard."""

    renderer: Renderer
    pack_tokens: int
    over_long: OverLong


class Job(NamedTuple):
    """A shard to be: its file, and the blend's rows that it is made of."""

    path: Path
    rows: pa.Table


def render_split(split: Path, folder: Path, task: Task, watch: Watch, label: str) -> list[Path]:
    """The shards of a split, in `folder`; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, total, done = [], count_rows(split), 0
    for job in _written(_jobs(split, folder), task, _processes(split)):
        paths.append(job.path)
        done += job.rows.num_rows
        watch(label, done, total)
    return paths


def _jobs(split: Path, folder: Path) -> Iterator[Job]:
    """Consecutive rows of about SHARD_BYTES."""
    batches: list[pa.RecordBatch] = []
    number = size = 0
    for batch in read_batches(split):
        batches.append(batch)
        size += batch.nbytes
        if size >= SHARD_BYTES:
            yield Job(folder / f"{number:05}.arrow", pa.Table.from_batches(batches))
            batches, size, number = [], 0, number + 1
    if batches:
        yield Job(folder / f"{number:05}.arrow", pa.Table.from_batches(batches))


def _processes(split: Path) -> int:
    """As many as there are cores, but no more than there are shards, roughly."""
    files = [open_parquet(path).metadata for path in parquet_files(split)]
    size: int = sum(file.row_group(group).total_byte_size for file in files for group in range(file.num_row_groups))
    return max(1, min(core_count(), size // SHARD_BYTES))


def _written(jobs: Iterable[Job], task: Task, processes: int) -> Iterator[Job]:
    """Each job once it is done, in their order; two per process are on their way at a time."""
    if processes == 1:
        for job in jobs:
            _write(task, job)
            yield job
        return
    waiting: deque[tuple[Job, Future[None]]] = deque()
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start, (pickle.dumps(task),))
    try:
        for job in jobs:
            waiting.append((job, pool.submit(_write_there, job)))
            if len(waiting) == 2 * processes:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    except BrokenProcessPool:
        raise GristmillError(
            "a process that rendered conversations was killed, perhaps for want of memory; the same command goes on."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(waiting: deque[tuple[Job, Future[None]]]) -> Job:
    job, future = waiting.popleft()
    future.result()
    return job


_task: Task  # of a process that renders shards


def _start(task: bytes) -> None:
    """In a new process: one thread for tokenising, no reaction to Ctrl-C but the parent's, and no life after it."""
    global _task
    os.environ["RAYON_NUM_THREADS"] = "1"  # before the tokenizers are made
    _task = pickle.loads(task)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
    os._exit(1)


def _write_there(job: Job) -> None:
    _write(_task, job)


def _write(task: Task, job: Job) -> None:
    if summary_path(job.path).exists():
        return
    summary = ShardSummary(conversations=job.rows.num_rows)
    documents = render_documents(task.renderer, records_of(job.rows, summary.unreadable), summary.unreadable)
    write_shard(documents, job.path, task.pack_tokens, task.over_long, summary)
