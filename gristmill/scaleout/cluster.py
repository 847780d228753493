"""The driver's side: gives each job to a worker, and does for it what only the owner of ledger and meter can do.

The tasks are cut into 256 slices by their position, and each slice belongs to a worker. It moves to the least busy one
when its owner is lost or has its hands full: so a slow machine holds up nobody. A lost worker's jobs run again
elsewhere, and the ledger answers what they had asked; another worker is started in its place as soon as Ray has room.
"""

import asyncio
import math
import pickle
import sqlite3
from collections.abc import Coroutine
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from gristmill.budget import Estimate, Meter
from gristmill.context import Task
from gristmill.errors import ConfigError, GristmillError, TaskFailed
from gristmill.ledger import Ledger, Outcome
from gristmill.ledger_file import ledger_error
from gristmill.plan import code_digest
from gristmill.runner import PREPARE, Job, Runner, failed
from gristmill.scaleout.connection import Connection, Remote, WorkerLost
from gristmill.scaleout.messages import (
    Answered,
    Assigned,
    Closed,
    Ended,
    Finished,
    Paid,
    Released,
    Reserve,
    Resting,
    Reused,
    Said,
    Told,
    Work,
)
from gristmill.scaleout.worker import in_flight_share

SLICES = 256
MOST_LOSSES = 3
"""A job that was running on so many workers when they died is failed: it may be what kills them."""
MOST_BARREN = 6
"""As many workers in one place that died before they had ended a job stop the run."""
START_SECONDS = 600.0
"""How long a run waits for its first worker, or for another one when it has lost all: a cluster may have to grow."""
CLOSE_SECONDS = 60.0


class Link:
    """A living worker: its jobs, what it has reserved, and what is to be told to it."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.jobs: dict[int, asyncio.Future[tuple[Outcome, Task]]] = {}  # by position
        self.reserved: list[tuple[str, Estimate]] = []  # with the role
        self.ended = 0
        self.resting = 0
        self.lost = False
        self._to_tell: list[Told] = []
        self._something = asyncio.Event()

    def tell(self, message: Told) -> None:
        self._to_tell.append(message)
        self._something.set()

    async def telling(self) -> None:
        """Brings the worker what it is told, for as long as it lives."""
        while True:
            await self._something.wait()
            self._something.clear()
            messages, self._to_tell = self._to_tell, []
            await self.remote.tell(messages)

    async def run(self, assigned: Assigned) -> tuple[Outcome, Task]:
        position = assigned.job.position
        ended: asyncio.Future[tuple[Outcome, Task]] = asyncio.get_running_loop().create_future()
        self.jobs[position] = ended
        self.tell(assigned)
        try:
            return await ended
        finally:
            del self.jobs[position]

    def end(self, position: int, outcome: tuple[Outcome, Task] | BaseException) -> None:
        ended = self.jobs.get(position)
        if ended is None or ended.done():
            return  # cancelled: the run is stopping
        if isinstance(outcome, BaseException):
            ended.set_exception(outcome)
        else:
            self.ended += 1
            ended.set_result(outcome)


class Cluster:
    """Runs jobs on the workers that the config's `executor` asks for. `runner` prepares the run in this process."""

    def __init__(self, runner: Runner, ledger: Ledger, meter: Meter) -> None:
        self.runner = runner
        self.ledger = ledger
        self.meter = meter
        self.plan = runner.plan
        self.config = runner.plan.config.executor
        self._connection: Connection | None = None
        self._links: dict[int, Link] = {}
        self._news = asyncio.Event()  # there is a worker, or the run must stop
        self._owners: dict[int, Link] = {}
        self._most_jobs = math.ceil(2 * self.plan.roles.in_flight() / self.config.workers)
        self._places: list[asyncio.Task[None]] = []
        self._commits: set[asyncio.Task[None]] = set()
        self._reservations: set[asyncio.Task[None]] = set()
        self._last_tries = asyncio.Lock()
        self._closing = False
        self._stop: GristmillError | None = None

    # ---- for the engine

    @property
    def resting(self) -> int:
        return sum(link.resting for link in self._links.values())

    async def prepare(self) -> None:
        self._check_shares()
        self._connection = await Connection.open(self.config)
        await self.runner.prepare()
        self.ledger.replay()  # what the judges were answered is sent along
        work = self._work()
        self._places = [asyncio.create_task(self._place(number, work)) for number in range(self.config.workers)]

    async def run(self, job: Job) -> tuple[Outcome, Task]:
        """A job whose worker dies runs again on another one; for the last time without others in their last try, so
        that none pays for what another one does to its worker."""
        for tries_left in reversed(range(MOST_LOSSES)):
            async with nullcontext() if tries_left else self._last_tries:
                link = await self._worker_for(job)
                with suppress(WorkerLost):
                    return await link.run(Assigned(job, self.ledger.packed_replies(job.task_id)))
        died = TaskFailed("worker", f"{MOST_LOSSES} workers died, one after the other, while they ran this task")
        return failed(job, died), Task(job.task_id)

    async def close(self) -> None:
        """Ends the workers, and commits what they had been answered until then."""
        self._closing = True
        try:
            for number, place in enumerate(self._places):
                if number in self._links:
                    self._links[number].remote.close()
                else:
                    place.cancel()
            if self._places:
                await asyncio.wait(self._places, timeout=CLOSE_SECONDS)
            for task in (*self._places, *self._reservations):
                task.cancel()
            await asyncio.gather(*self._places, *self._reservations, *self._commits, return_exceptions=True)
        finally:
            if self._connection:
                await self._connection.close()
            await self.runner.close()

    def _check_shares(self) -> None:
        workers = self.config.workers
        for name in self.plan.config.models:
            role = self.plan.roles[name]
            if in_flight_share(role, workers - 1, workers) == 0:
                raise ConfigError(
                    f"executor.workers: {workers} workers can't share the {role.in_flight} calls in flight of "
                    f"models.{name}; take fewer workers or raise its max_in_flight."
                )

    def _work(self) -> Work:
        plan = self.plan
        return Work(
            config=plan.config,
            plugins=pickle.dumps((plan.generator, plan.judges)),
            code=code_digest(plan.generator, plan.judges),
            folder=Path.cwd(),
            artifacts=self.runner.runtime.artifacts.absolute(),
            prepared=self.ledger.packed_replies(PREPARE),
        )

    async def _worker_for(self, job: Job) -> Link:
        """The owner of the job's slice, once there is one."""
        while not self._links and self._stop is None:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                raise GristmillError(
                    f"no worker started within {START_SECONDS:.0f} s: each takes one CPU of the Ray cluster, and none "
                    "was free. Add machines, or stop what else runs there, and repeat the command."
                ) from None
        if self._stop:
            raise self._stop
        piece = job.position % SLICES
        owner = self._owners.get(piece)
        if owner is None or owner.lost or len(owner.jobs) >= self._most_jobs:
            owner = self._owners[piece] = min(self._links.values(), key=lambda link: len(link.jobs))
        return owner

    # ---- for the workers

    async def _place(self, number: int, work: Work) -> None:
        """Keeps one worker: starts it, serves it until it is lost, and starts the next one."""
        assert self._connection is not None
        barren = 0
        try:
            while not self._closing:
                link = Link(self._connection.new_worker())
                try:
                    await link.remote.start(work, number)
                    self._links[number] = link
                    self._news.set()
                    await self._serve(link)
                    return
                except WorkerLost as error:
                    self._bury(number, link)
                    barren = 0 if link.ended else barren + 1
                    if barren == MOST_BARREN:
                        raise GristmillError(f"{barren} workers died before they had ended a task: {error}.") from None
                finally:
                    link.remote.kill()
        except Exception as error:
            self._fail(error)

    def _bury(self, number: int, link: Link) -> None:
        """Gives back what a lost worker had: its jobs, and its part of the budget."""
        link.lost = True
        self._links.pop(number, None)
        if not self._links:
            self._news.clear()
        for role, estimate in link.reserved:
            self.meter.release(self.plan.roles[role], estimate)
        for position in list(link.jobs):
            link.end(position, WorkerLost())
        self.ledger.replay()  # before any of these jobs asks what it holds for it

    def _fail(self, error: BaseException) -> None:
        """Stops the run: every job that runs or waits for a worker raises `error`, or the sentence for it."""
        if isinstance(error, sqlite3.Error):
            error = ledger_error(error, self.ledger.path)
        elif not isinstance(error, GristmillError):
            broke = GristmillError(f"the driver of the workers broke: {error!r}.")
            broke.__cause__ = error
            error = broke
        self._stop = self._stop or error
        for link in self._links.values():
            for position in list(link.jobs):
                link.end(position, error)
        self._news.set()

    async def _serve(self, link: Link) -> None:
        """Until the worker has said its last word; raises WorkerLost where it can't say it."""
        both = [asyncio.create_task(self._hearing(link)), asyncio.create_task(link.telling())]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _hearing(self, link: Link) -> None:
        while True:
            said = await link.remote.hear()
            finished = [message for message in said if isinstance(message, Finished)]
            if finished:
                self._start(self._commit(link, finished), self._commits)
            for message in said:
                if isinstance(message, Closed):
                    return
                await self._hear(link, message)

    async def _hear(self, link: Link, message: Said) -> None:
        match message:
            case Reserve(ticket=None):
                await self._reserve(link, message)  # without a budget it doesn't wait
            case Reserve():
                self._start(self._reserve(link, message), self._reservations)
            case Paid(role, stage, usage):
                self.meter.pay(self.plan.roles[role], stage, usage)
            case Released(role, estimate):
                link.reserved.remove((role, estimate))
                self.meter.release(self.plan.roles[role], estimate)
            case Reused(task_id, key):
                self.meter.calls_reused += 1
                self.ledger.reply(task_id, key)  # copies what comes from a shared ledger
            case Ended(position, outcome):
                link.end(position, outcome)
            case Resting(calls):
                link.resting = calls

    async def _reserve(self, link: Link, asked: Reserve) -> None:
        role = self.plan.roles[asked.role]
        answer: Estimate | GristmillError
        try:
            answer = await self.meter.reserve(role, asked.request_bytes, asked.request)
        except GristmillError as error:
            answer = error
        else:
            if link.lost:
                self.meter.release(role, answer)
                return
            link.reserved.append((asked.role, answer))
        if asked.ticket is not None:
            link.tell(Answered(asked.ticket, answer))

    async def _commit(self, link: Link, finished: list[Finished]) -> None:
        error: GristmillError | None = None
        try:
            await self.ledger.record_packed([message.call for message in finished])
        except GristmillError as failure:
            error = failure
        for message in finished:
            link.tell(Answered(message.ticket, error))

    def _start(self, errand: Coroutine[Any, Any, None], running: set[asyncio.Task[None]]) -> None:
        """Does it at the same time as everything else; it is among `running` until it ends."""

        def ended(task: asyncio.Task[None]) -> None:
            running.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._fail(error)

        task = asyncio.create_task(errand)
        running.add(task)
        task.add_done_callback(ended)
