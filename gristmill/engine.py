"""The engine: takes tasks in order, runs as many at once as the endpoints can use, and commits each outcome.

There is no batch and no stage barrier: a task is an asyncio task from its seed to its outcome, and a slow one holds up
nobody. What a task gives is written to the ledger; records are exported from there in task order.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path

import orjson

from gristmill.api import RunJudge
from gristmill.budget import Meter
from gristmill.context import Runtime
from gristmill.errors import GristmillError, TooFewRecords
from gristmill.judging import WholeRun
from gristmill.ledger import Ledger
from gristmill.llm import Transport
from gristmill.log import TaskLog
from gristmill.plan import Plan
from gristmill.quota import make_quota
from gristmill.runner import Executor, Job, Runner
from gristmill.seeds import BadSeed
from gristmill.selection import Wanted, select
from schemas import Seed, content_hash

MOST_DEFERRED = 10_000
TICK = 0.05  # seconds


@dataclass(slots=True)
class Tally:
    """How far the run is; read by the progress display."""

    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    records: int = 0
    running: int = 0
    before: Counter[str] = field(default_factory=Counter)  # tasks and records that earlier sessions gave
    total: int | None = None  # tasks or records that are wanted, where the config says so
    started: float = field(default_factory=time.monotonic)

    def count(self, status: str, records: int) -> None:
        setattr(self, status, getattr(self, status) + 1)
        self.records += records

    @property
    def done(self) -> int:
        return self.accepted + self.rejected + self.failed


class Engine:
    """Runs a plan against a ledger. `transport` is the network, or a script in tests."""

    def __init__(
        self, plan: Plan, ledger: Ledger, transport: Transport, artifacts: Path, log: TaskLog | None = None
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.transport = transport
        used = ledger.usage("role", "stage").items()
        spent = {(role, stage): (sums["usd"], int(sums["input"] + sums["output"])) for (role, stage), sums in used}
        self.meter = Meter(plan.config.budget, spent)
        runtime = Runtime(plan.config.seed, ledger, plan.roles, transport, self.meter, artifacts)
        self.executor = self._executor(Runner(plan, runtime))
        config = plan.config
        self.tally = Tally(total=config.samples or config.tasks or config.max_tasks)
        self._log = log
        self._limit = config.tasks or config.max_tasks
        self._most = 2 * plan.roles.in_flight()
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._stop: GristmillError | OSError | None = None
        self._deferred: dict[str, deque[Job]] = {}

    def _executor(self, runner: Runner) -> Executor:
        if self.plan.config.executor.kind == "local":
            return runner
        from gristmill.scaleout import Cluster

        return Cluster(runner, self.ledger, self.meter)

    async def run(self) -> None:
        """Until the tasks run out or enough records are there; raises what stops a run (budget, endpoint, disk ...)."""
        ticking = asyncio.create_task(self._tick())
        try:
            await self.executor.prepare()
            config = self.plan.config
            self.quota = make_quota(config.samples, config.quota.by, self._seeds)
            self._note_wanted()
            self.ledger["axes"] = orjson.dumps(self.plan.generator.coverage_axes()).decode()
            feed = self._jobs()
            await self._work(feed)
            while not self._stop and self._wants_more_candidates():
                await self._work(feed)
        finally:
            for task in (ticking, *self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            await self.executor.close()
            self.ledger.flush()  # replies that were paid for while the run was stopping
        if self._stop:
            raise self._stop
        if self.quota.is_hopeless():
            raise TooFewRecords(
                f"{self.quota.barren:,} tasks in a row gave no record, so no more were started: see rejects/ and "
                "report.html for the reasons. Change the config, then repeat the command."
            )

    async def _work(self, feed: Iterator[Job]) -> None:
        """Until no task is needed or left, and none is running."""
        while not self._stop:
            job = self._next(feed) if self._has_room() else None
            if job is not None:
                self._launch(job)
            elif self._running:
                await self._wait()
            else:
                break

    def _wants_more_candidates(self) -> bool:
        """Whether judges of the whole run removed so many that more tasks have to run."""
        judges = [named for named in self.plan.judges if isinstance(named.judge, RunJudge)]
        if not judges or self.quota.wanted is None:
            return False
        survivors: Counter[str] = Counter()
        outcomes = partial(self.ledger.outcomes, self.plan.fingerprint)
        for task in select(outcomes, WholeRun(judges), self._note_wanted()):
            survivors[task.bucket] += len(task.records)
        raised = self.quota.raise_targets(survivors)
        self._note_wanted()
        return raised

    def _note_wanted(self) -> Wanted:
        """Kept in the ledger, so that a run can be exported without its plan."""
        quota = self.quota
        wanted = Wanted() if quota.wanted is None else Wanted(quota.samples, quota.wanted)
        self.ledger["wanted"] = wanted.to_json()
        return wanted

    def _has_room(self) -> bool:
        """Twice as many tasks as calls; one more for each call that a busy server told to come again later."""
        return len(self._running) < self._most + min(self.executor.resting, self._most)

    async def _wait(self) -> None:
        """Until a task lands, or for a tick."""
        self._changed.clear()
        await self._changed.wait()

    async def _tick(self) -> None:
        """Calls that rest make room for tasks, and nobody tells when their number changes."""
        while True:
            await asyncio.sleep(TICK)
            self._changed.set()

    def _seeds(self) -> Iterator[Seed | BadSeed]:
        return islice(self.plan.generator.tasks(), self._limit)

    def _jobs(self) -> Iterator[Job]:
        """The jobs in task order that have no outcome yet; outcomes of earlier sessions are counted on the way.

        A task's id is the hash of its seed's content, numbered where the same seed comes again.
        """
        seen: dict[int, int] = {}
        for position, seed in enumerate(self._seeds()):
            task_id = seed.where if isinstance(seed, BadSeed) else content_hash(seed.model_dump(mode="json"))
            brief = int.from_bytes(sha256(task_id.encode()).digest()[:7])  # eight bytes a task, however long the run
            seen[brief] = occurrence = seen.get(brief, -1) + 1
            job = Job(f"{task_id}-{occurrence}" if occurrence else task_id, position, self.quota.bucket_of(seed), seed)
            if not self._already_done(job):
                yield job

    def _already_done(self, job: Job) -> bool:
        """A failed task is tried again: its calls are in the ledger, and what broke may be mended."""
        known = self.ledger.outcome_status(job.task_id, job.position, self.plan.fingerprint)
        if known is None or known[0] == "failed":
            return False
        self.tally.count(*known)
        self.tally.before.update(tasks=1, records=known[1])
        self.quota.ended(job.bucket, known[1])
        return True

    def _next(self, feed: Iterator[Job]) -> Job | None:
        """The first job in task order whose bucket needs it. None where none is to be launched for now.

        A job whose bucket will be full if what runs succeeds is put off: it is launched when something is rejected.
        """
        quota = self.quota
        for bucket, waiting in self._deferred.items():
            if quota.is_full(bucket):
                waiting.clear()
            elif waiting and quota.needs(bucket):
                return waiting.popleft()
        while quota.any_needs() and sum(map(len, self._deferred.values())) < MOST_DEFERRED:
            job = next(feed, None)
            if job is None or quota.needs(job.bucket):
                return job
            if not quota.is_full(job.bucket):
                self._deferred.setdefault(job.bucket, deque()).append(job)
        return None

    def _launch(self, job: Job) -> None:
        task = asyncio.create_task(self._settle(job))
        self._running.add(task)
        self.tally.running += 1
        self.quota.launched(job.bucket)
        task.add_done_callback(lambda done: self._landed(done, job.bucket))

    def _landed(self, task: asyncio.Task[None], bucket: str) -> None:
        self._running.discard(task)
        self._changed.set()
        self.tally.running -= 1
        self.quota.landed(bucket)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._stop is None:
            self._stop = error if isinstance(error, GristmillError | OSError) else _broken(error)

    async def _settle(self, job: Job) -> None:
        """From the seed to the committed outcome."""
        started = time.monotonic()
        outcome, task = await self.executor.run(job)
        await self.ledger.record_outcome(outcome, self.plan.fingerprint)
        records = len(outcome.rows["records"])
        self.tally.count(outcome.status, records)
        self.quota.ended(job.bucket, records)
        if self._log:
            self._log.write(outcome, task, time.monotonic() - started)


def _broken(error: BaseException) -> GristmillError:
    broken = GristmillError(f"the engine broke: {error!r}.")
    broken.__cause__ = error
    return broken
