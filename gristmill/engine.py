"""The engine: takes tasks in order, runs as many at once as the endpoints can use, and commits each outcome.

There is no batch and no stage barrier: a task is an asyncio task from its seed to its outcome, and a slow one holds up
nobody. What a task gives is written to the ledger; records are exported from there in task order.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gristmill.budget import Meter
from gristmill.context import Context, Runtime, Task
from gristmill.errors import GristmillError, Reject, TaskFailed
from gristmill.judging import Fault, judge_records, where
from gristmill.ledger import Ledger, Outcome
from gristmill.llm import Transport
from gristmill.plan import Plan
from gristmill.seeds import BadSeed
from schemas import Record, Seed, content_hash
from schemas.arrow import record_to_row

Rows = dict[str, list[dict[str, Any]]]


@dataclass(slots=True)
class Tally:
    """How far the run is; read by the progress display."""

    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    records: int = 0
    running: int = 0
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

    def __init__(self, plan: Plan, ledger: Ledger, transport: Transport, artifacts: Path) -> None:
        self.plan = plan
        self.ledger = ledger
        self.transport = transport
        self.meter = Meter(plan.config.budget, ledger.spent())
        self.runtime = Runtime(plan.config.seed, ledger, plan.roles, transport, self.meter, artifacts)
        config = plan.config
        self.tally = Tally(total=config.samples or config.tasks or config.max_tasks)
        self._limit = config.tasks or config.max_tasks
        self._places = asyncio.Semaphore(2 * plan.roles.in_flight())
        self._running: set[asyncio.Task[None]] = set()
        self._stop: GristmillError | None = None

    async def run(self) -> None:
        """Until the tasks run out or enough records are there; raises what stops a run (budget, endpoint, disk ...)."""
        try:
            await self._prepare()
            for position, (task_id, seed) in enumerate(self._tasks()):
                if self._enough(position):
                    break
                if not self._already_done(task_id, position):
                    await self._places.acquire()
                    if self._stop or self._enough(position):
                        self._places.release()
                        break
                    self._launch(task_id, position, seed)
            while self._running and not self._stop:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self.ledger.flush()  # replies that were paid for while the run was stopping
            await self.runtime.resources.close()
            await self.transport.close()
        if self._stop:
            raise self._stop

    async def _prepare(self) -> None:
        ctx = Context(self.runtime, Task("prepare"), self.plan.generator.prompts)
        with ctx.scope("0", "prepare"):
            await self.plan.generator.prepare(ctx)

    def _tasks(self) -> Iterator[tuple[str, Seed | BadSeed]]:
        """(task id, seed): the id is the hash of the seed's content, numbered where the same seed comes again."""
        seen: Counter[str] = Counter()
        for seed in self.plan.generator.tasks():
            task_id = seed.where if isinstance(seed, BadSeed) else content_hash(seed.model_dump(mode="json"))
            occurrence = seen[task_id]
            seen[task_id] += 1
            yield (f"{task_id}-{occurrence}" if occurrence else task_id), seed

    def _enough(self, position: int) -> bool:
        """All tasks before `position` are launched, so the first N records in task order are among theirs."""
        samples = self.plan.config.samples
        return (self._limit is not None and position >= self._limit) or (
            samples is not None and self.tally.records >= samples
        )

    def _already_done(self, task_id: str, position: int) -> bool:
        """A failed task is tried again: its calls are in the ledger, and what broke may be mended."""
        known = self.ledger.outcome_status(task_id, position, self.plan.fingerprint)
        if known is None or known[0] == "failed":
            return False
        self.tally.count(*known)
        return True

    def _launch(self, task_id: str, position: int, seed: Seed | BadSeed) -> None:
        task = asyncio.create_task(self._settle(task_id, position, seed))
        self._running.add(task)
        self.tally.running += 1
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._places.release()
        self.tally.running -= 1
        error = None if task.cancelled() else task.exception()
        if error is not None and self._stop is None:
            stop = error if isinstance(error, GristmillError) else GristmillError(f"the engine broke: {error!r}.")
            stop.__cause__ = error if stop is not error else error.__cause__
            self._stop = stop

    async def _settle(self, task_id: str, position: int, seed: Seed | BadSeed) -> None:
        """From the seed to the committed outcome."""
        task = Task(task_id)
        try:
            if isinstance(seed, BadSeed):
                raise TaskFailed("seed", seed.detail)
            records = await self._generate(task, seed)
            status, rows = self._rows(task, await judge_records(self.runtime, task, self.plan.judges, records))
        except Reject as reject:
            status = "rejected"
            rows = _lost(
                task_id, status, reject.stage, reject.reason, reject.detail, {"seed": _dump(seed), **reject.payload}
            )
        except TaskFailed as failure:
            status = "failed"
            rows = _lost(task_id, status, failure.boundary, "error", str(failure), {"seed": _dump(seed)})
        await self.ledger.record_outcome(Outcome(task_id, position, status, rows), self.plan.fingerprint)
        self.tally.count(status, len(rows["records"]))

    async def _generate(self, task: Task, seed: Seed) -> list[Record]:
        generator = self.plan.generator
        ctx = Context(self.runtime, task, generator.prompts)
        with ctx.scope("0", "generate"):
            try:
                made = await generator.run(seed, ctx)
            except (Reject, TaskFailed, GristmillError):
                raise
            except Exception as error:
                raise TaskFailed("generator", where(error)) from error
        records = made if isinstance(made, list) else [made]
        if not records:
            raise Reject("generate", "no_records")
        return records

    def _rows(self, task: Task, judged: list[tuple[Record, Fault | None]]) -> tuple[str, Rows]:
        """The status and rows of a task: each record passed all gates or becomes a reject row."""
        kept = [record for record, fault in judged if fault is None]
        part = "partial" if kept else "rejected"
        rows: Rows = {"records": [self._complete(task, record) for record in kept], "rejects": []}
        for record, fault in judged:
            if fault is not None:
                payload = record.model_dump(mode="json", include={"messages", "metadata", "verdicts"})
                rows["rejects"] += _lost(task.id, part, *fault, payload)["rejects"]
        return "accepted" if kept else "rejected", rows

    def _complete(self, task: Task, record: Record) -> dict[str, Any]:
        """The record with what the engine knows of it, as a row."""
        generator = self.plan.generator
        if not record.generator:  # a record that is judged again keeps its origin
            record.generator, record.version, record.task_id = generator.name, generator.version, task.id
            record.license = record.license or self.plan.config.license
            record.provenance = task.provenance(self.plan.config.seed)
        return record_to_row(record)


def _lost(task_id: str, status: str, stage: str, reason: str, detail: str, payload: dict[str, Any]) -> Rows:
    row = {"task_id": task_id, "status": status, "stage": stage, "reason": reason, "detail": detail,
           "payload": orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS).decode()}  # fmt: skip
    return {"records": [], "rejects": [row]}


def _dump(seed: Seed | BadSeed) -> Any:
    return seed._asdict() if isinstance(seed, BadSeed) else seed.model_dump(mode="json")
