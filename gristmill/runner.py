"""One task from its seed to its outcome: generate, judge, and name the loss where there is one."""

from typing import Any, Protocol

from gristmill.api import Generator, Judge
from gristmill.context import Context, Runtime, Task
from gristmill.errors import Fault, GristmillError, Reject, TaskFailed
from gristmill.judging import judge_records, where
from gristmill.ledger import Outcome
from gristmill.plan import Plan
from gristmill.seeds import BadSeed
from gristmill.selection import lost, reject_row
from schemas import Record, Seed
from schemas.arrow import record_to_row

Rows = dict[str, list[dict[str, Any]]]

PREPARE = "prepare"
"""The task id and the stage of what happens before the first task."""


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

    What it raises (budget, endpoint, disk ...) stops the run; all else is an outcome. `resting` counts the calls that
    wait before they are tried again.
    """

    @property
    def resting(self) -> int: ...

    async def prepare(self) -> None: ...

    async def run(self, job: Job) -> tuple[Outcome, Task]: ...

    async def close(self) -> None: ...


class Runner:
    """Runs the jobs of a plan in this process."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        self.plan = plan
        self.runtime = runtime

    @property
    def resting(self) -> int:
        return self.runtime.transport.resting

    async def prepare(self) -> None:
        await self._prepare(self.plan.generator, self.plan.generator.name, "0")
        await self.prepare_judges()

    async def prepare_judges(self) -> None:
        """They keep what they prepare in themselves, so this is done wherever they are asked."""
        for named in self.plan.judges:
            for number, judge in enumerate(named.all_judges()):
                if isinstance(judge, Judge):
                    await self._prepare(judge, f"the judge {named.name}", f"judge.{named.name}.{number}")

    async def _prepare(self, plugin: Generator[Any, Any] | Judge[Any], name: str, path: str) -> None:
        """Nothing can run without it, so whatever goes wrong stops the run."""
        ctx = Context(self.runtime, Task(PREPARE), plugin.prompts)
        with ctx.scope(path, PREPARE):
            try:
                await plugin.prepare(ctx)
            except GristmillError:
                raise
            except (Reject, TaskFailed) as error:
                boundary = f"{error.boundary}: " if isinstance(error, TaskFailed) else ""
                raise GristmillError(f"{name} can't prepare: {boundary}{error}.") from error
            except Exception as error:
                raise GristmillError(f"{name} can't prepare: {where(error)}.") from error

    async def run(self, job: Job) -> tuple[Outcome, Task]:
        """The outcome, and what was used for it."""
        task = Task(job.task_id)
        try:
            if isinstance(job.seed, BadSeed):
                raise TaskFailed("seed", job.seed.detail)
            records = await self._generate(task, job.seed)
            judged = await judge_records(self.runtime, task, self.plan.judges, records)
            status, rows = self._rows(task, job.seed, judged)
        except Reject as reject:
            payload = {"seed": _dump(job.seed), **reject.payload}
            status, rows = "rejected", _loss(task.id, "rejected", reject.stage, reject.reason, reject.detail, payload)
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
                raise TaskFailed("generator", where(error)) from error
        records = made if isinstance(made, list) else [made]
        if not records:
            raise Reject("generate", "no_records")
        return records

    def _rows(self, task: Task, seed: Seed, judged: list[tuple[Record, Fault | None]]) -> tuple[str, Rows]:
        """The status and rows of a task: each record passed all gates or becomes a reject row."""
        kept = [record for record, fault in judged if fault is None]
        part = "partial" if kept else "rejected"
        rejects = [lost(task.id, part, fault, record) for record, fault in judged if fault is not None]
        rows = {"records": [self._complete(task, seed, record) for record in kept], "rejects": rejects}
        return "accepted" if kept else "rejected", rows

    def _complete(self, task: Task, seed: Seed, record: Record) -> dict[str, Any]:
        """The record with what the engine knows of it, as a row."""
        generator = self.plan.generator
        if not record.generator:  # a record that is judged again keeps its origin
            record.generator, record.version, record.task_id = generator.name, generator.version, task.id
            record.license = record.license or self.plan.config.license
            record.provenance = task.provenance(self.plan.config.seed)
            record.provenance.licenses = self._licenses(task, seed)
        return record_to_row(record)

    def _licenses(self, task: Task, seed: Seed) -> dict[str, str]:
        """What binds a record beside its own licence: that of its seed, and those of its models' outputs."""
        of_models = {role: self.runtime.roles[role].config.output_license for role in sorted(task.models)}
        of_seed = dict(seed).get("license", "")
        found = {**of_models, "seeds": of_seed if isinstance(of_seed, str) else ""}
        return {source: license for source, license in found.items() if license}


def failed(job: Job, failure: TaskFailed) -> Outcome:
    """The outcome of a job that broke."""
    payload = {"seed": _dump(job.seed)}
    rows = _loss(job.task_id, "failed", failure.boundary, "error", str(failure), payload)
    return Outcome(job.task_id, job.position, "failed", job.bucket, rows)


def _loss(task_id: str, status: str, stage: str, reason: str, detail: str, payload: dict[str, Any]) -> Rows:
    return {"records": [], "rejects": [reject_row(task_id, status, stage, reason, detail, payload)]}


def _dump(seed: Seed | BadSeed) -> Any:
    return seed._asdict() if isinstance(seed, BadSeed) else seed.model_dump(mode="json")
