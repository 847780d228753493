"""One task from its seed to its outcome: generate, judge, and name the loss where there is one."""

from typing import Any

import orjson

from gristmill.api import Judge
from gristmill.context import Context, Runtime, Task
from gristmill.errors import GristmillError, Reject, TaskFailed
from gristmill.judging import Fault, judge_records, where
from gristmill.ledger import Outcome
from gristmill.plan import Plan
from gristmill.seeds import BadSeed
from schemas import Record, Seed
from schemas.arrow import record_to_row

Rows = dict[str, list[dict[str, Any]]]


class Job:
    """A task to run: its id, its place in task order, its bucket of the quota, and its seed."""

    __slots__ = ("bucket", "position", "seed", "task_id")

    def __init__(self, task_id: str, position: int, bucket: str, seed: Seed | BadSeed) -> None:
        self.task_id = task_id
        self.position = position
        self.bucket = bucket
        self.seed = seed


class Runner:
    """Runs the jobs of a plan. What it raises (budget, endpoint, disk ...) stops the run; all else is an outcome."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        self.plan = plan
        self.runtime = runtime

    async def prepare(self) -> None:
        ctx = Context(self.runtime, Task("prepare"), self.plan.generator.prompts)
        with ctx.scope("0", "prepare"):
            await self.plan.generator.prepare(ctx)
        for named in self.plan.judges:
            for number, judge in enumerate(named.all_judges()):
                if isinstance(judge, Judge):
                    ctx = Context(self.runtime, Task("prepare"), judge.prompts)
                    with ctx.scope(f"judge.{named.name}.{number}", "prepare"):
                        await judge.prepare(ctx)

    async def run(self, job: Job, task: Task) -> Outcome:
        """The outcome; what was used for it is added to `task`."""
        try:
            if isinstance(job.seed, BadSeed):
                raise TaskFailed("seed", job.seed.detail)
            records = await self._generate(task, job.seed)
            status, rows = self._rows(task, await judge_records(self.runtime, task, self.plan.judges, records))
        except Reject as reject:
            status = "rejected"
            payload = {"seed": _dump(job.seed), **reject.payload}
            rows = _lost(task.id, status, reject.stage, reject.reason, reject.detail, payload)
        except TaskFailed as failure:
            status = "failed"
            rows = _lost(task.id, status, failure.boundary, "error", str(failure), {"seed": _dump(job.seed)})
        return Outcome(task.id, job.position, status, job.bucket, rows)

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
                payload = record.model_dump(mode="json", include={"uuid", "messages", "metadata", "verdicts"})
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
