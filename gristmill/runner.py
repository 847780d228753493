"""One task from its seed to its outcome: generate, judge, and name the loss where there is one."""

import traceback
from pathlib import Path
from typing import Any, Protocol

import orjson

from gristmill.context import Context, Runtime, Task
from gristmill.errors import GristmillError, Reject, TaskFailed
from gristmill.ledger import Outcome
from gristmill.plan import Plan
from gristmill.seeds import BadSeed
from schemas import Record, Seed, Verdict
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


class Executor(Protocol):
    """Where the jobs of a plan run: in this process (`Runner`), or on the workers of `gristmill.scaleout.Cluster`.

    What it raises (budget, endpoint, disk ...) stops the run; all else is an outcome.
    """

    async def prepare(self) -> None: ...

    async def run(self, job: Job) -> tuple[Outcome, Task]: ...

    async def close(self) -> None: ...


class Runner:
    """Runs the jobs of a plan in this process."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        self.plan = plan
        self.runtime = runtime

    async def prepare(self) -> None:
        ctx = Context(self.runtime, Task("prepare"), self.plan.generator.prompts)
        with ctx.scope("0", "prepare"):
            await self.plan.generator.prepare(ctx)

    async def run(self, job: Job) -> tuple[Outcome, Task]:
        """The outcome, and what was used for it."""
        task = Task(job.task_id)
        try:
            if isinstance(job.seed, BadSeed):
                raise TaskFailed("seed", job.seed.detail)
            records = await self._generate(task, job.seed)
            status, rows = await self._judge(task, records)
        except Reject as reject:
            status = "rejected"
            payload = {"seed": _dump(job.seed), **reject.payload}
            rows = _lost(task.id, status, reject.stage, reject.reason, reject.detail, payload)
        except TaskFailed as failure:
            return failed(job, failure), task
        return Outcome(task.id, job.position, status, job.bucket, rows), task

    async def close(self) -> None:
        """Leaves the resources and the connections of the run."""
        await self.runtime.resources.close()
        await self.runtime.transport.close()

    async def _generate(self, task: Task, seed: Seed) -> list[Record]:
        generator = self.plan.generator
        ctx = Context(self.runtime, task, generator.prompts)
        with ctx.scope("0", "generate"):
            try:
                made = await generator.run(seed, ctx)
            except (Reject, TaskFailed, GristmillError):
                raise
            except Exception as error:
                raise TaskFailed("generator", _where(error)) from error
        records = made if isinstance(made, list) else [made]
        if not records:
            raise Reject("generate", "no_records")
        return records

    async def _judge(self, task: Task, records: list[Record]) -> tuple[str, Rows]:
        """The rows of a task whose generator gave `records`: each passes all gates or becomes a reject row."""
        kept, lost = [], []
        for number, record in enumerate(records):
            fault = await self._first_fault(task, record, number)
            if fault is None:
                kept.append(record)
            else:
                payload = record.model_dump(mode="json", include={"messages", "metadata", "verdicts"})
                lost.append((fault, payload))
        status = "accepted" if kept else "rejected"
        part = "partial" if kept else "rejected"
        rows: Rows = {"records": [self._complete(task, record) for record in kept], "rejects": []}
        for (stage, reason, detail), payload in lost:
            rows["rejects"] += _lost(task.id, part, stage, reason, detail, payload)["rejects"]
        return status, rows

    async def _first_fault(self, task: Task, record: Record, number: int) -> tuple[str, str, str] | None:
        """(stage, reason, detail) of the first gate that the record doesn't pass; later judges are not asked then."""
        for named in self.plan.judges:
            ctx = Context(self.runtime, task, named.judge.prompts)
            with ctx.scope(f"judge.{named.name}.{number}", named.name) as scope:
                try:
                    verdict = await named.judge.judge(record, ctx)
                except Reject as reject:  # such as an answer that was no answer: the judge could not decide
                    verdict = Verdict(name=named.name, passed=None, reason=f"{reject.reason}: {reject.detail}")
                except (TaskFailed, GristmillError):
                    raise
                except Exception as error:
                    raise TaskFailed("judge", f"{named.name}: {_where(error)}") from error
                verdict.cost = round(scope.usd, 9)
            record.verdicts = [*(old for old in record.verdicts if old.name != verdict.name), verdict]
            if named.judge.gate and verdict.passed is not True:
                return named.name, "failed" if verdict.passed is False else "undecided", verdict.reason
        return None

    def _complete(self, task: Task, record: Record) -> dict[str, Any]:
        """The record with what the engine knows of it, as a row."""
        generator = self.plan.generator
        if not record.generator:  # a record that is judged again keeps its origin
            record.generator, record.version, record.task_id = generator.name, generator.version, task.id
            record.license = record.license or self.plan.config.license
            record.provenance = task.provenance(self.plan.config.seed)
        return record_to_row(record)


def failed(job: Job, failure: TaskFailed) -> Outcome:
    """The outcome of a job that broke."""
    seed = {"seed": _dump(job.seed)}
    rows = _lost(job.task_id, "failed", failure.boundary, "error", str(failure), seed)
    return Outcome(job.task_id, job.position, "failed", job.bucket, rows)


def _lost(task_id: str, status: str, stage: str, reason: str, detail: str, payload: dict[str, Any]) -> Rows:
    row = {"task_id": task_id, "status": status, "stage": stage, "reason": reason, "detail": detail,
           "payload": orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS).decode()}  # fmt: skip
    return {"records": [], "rejects": [row]}


def _dump(seed: Seed | BadSeed) -> Any:
    return seed._asdict() if isinstance(seed, BadSeed) else seed.model_dump(mode="json")


def _where(error: Exception) -> str:
    """The error with the place where it was raised: what one needs to find it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
