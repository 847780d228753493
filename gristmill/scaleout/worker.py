"""A worker of a run: it has the runner, the connections and the resources; the ledger and the meter are the driver's.

It is an asynchronous Ray actor, and knows nothing of Ray. `tell` brings jobs and answers, `hear` waits for what the
worker has to say: both carry lists, so a message costs a fraction of a remote call.
"""

import asyncio
import io
import os
import pickle
import socket
import tarfile
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from gristmill.budget import Estimate
from gristmill.context import Runtime
from gristmill.errors import ConfigError, GristmillError
from gristmill.ledger_file import Call, packed, unpacked
from gristmill.llm import Network, Role, Roles
from gristmill.plan import Plan, code_digest
from gristmill.runner import PREPARE, Job, Runner
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
from schemas import JsonObject, Usage

GROUP_SECONDS = 0.01


class Line:
    """To the driver: what is said waits here until it is fetched, and a question until it is answered."""

    def __init__(self) -> None:
        self._said: list[Said] = []
        self._something = asyncio.Event()
        self._last = 0.0
        self._tickets = count()
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self.is_open = False

    def say(self, message: Said) -> None:
        self._said.append(message)
        self._something.set()

    async def ask(self, question: Callable[[int], Said]) -> Any:
        """The answer to the message that `question` makes of a ticket; raises an answer that is an error."""
        if not self.is_open:
            raise GristmillError("a judge asks on a worker what it did not ask when the run was prepared.")
        ticket = next(self._tickets)
        self._questions[ticket] = answer = asyncio.get_running_loop().create_future()
        self.say(question(ticket))
        try:
            return await answer
        finally:
            del self._questions[ticket]

    def answered(self, ticket: int, answer: Any) -> None:
        question = self._questions.get(ticket)
        if question is None or question.done():
            return  # the task that asked was cancelled
        if isinstance(answer, GristmillError):
            question.set_exception(answer)
        else:
            question.set_result(answer)

    async def fetch(self) -> list[Said]:
        """What was said since; at once after a silence, else when a group's time is over."""
        await self._something.wait()
        await asyncio.sleep(max(0.0, self._last + GROUP_SECONDS - time.monotonic()))
        self._last = time.monotonic()
        self._something.clear()
        said, self._said = self._said, []
        return said


class RemoteLedger:
    """The driver's ledger as a task needs it. The replies that it holds for a job come with the job."""

    def __init__(self, line: Line) -> None:
        self.packed_replies: dict[str, dict[bytes, bytes]] = {}
        self._line = line

    def reply(self, task_id: str, key: bytes) -> bytes | None:
        kept = self.packed_replies[task_id].get(key)
        if kept is None:
            return None
        self._line.say(Reused(task_id, key))
        return unpacked(kept)

    async def record_call(self, call: Call) -> None:
        """Returns when the driver has committed it."""
        sent = call._replace(reply=packed(call.reply))
        await self._line.ask(lambda ticket: Finished(ticket, sent))


class RemoteMeter:
    """The driver's meter as a task needs it. Leave to call is waited for only where there is a budget."""

    def __init__(self, line: Line, has_budget: bool) -> None:
        self.calls_reused = 0
        self._line = line
        self._has_budget = has_budget

    async def reserve(self, role: Role, request_bytes: int, request: JsonObject) -> Estimate:
        brief = {key: request[key] for key in ("max_tokens",) if key in request}
        if self._has_budget:
            estimate: Estimate = await self._line.ask(lambda n: Reserve(n, role.name, request_bytes, brief))
            return estimate
        self._line.say(Reserve(None, role.name, request_bytes, brief))
        return Estimate()

    def pay(self, role: Role, stage: str, usage: Usage) -> None:
        self._line.say(Paid(role.name, stage, usage))

    def release(self, role: Role, estimate: Estimate) -> None:
        self._line.say(Released(role.name, estimate))


class Worker:
    """`start` first; then `tell` and `hear`, at the same time, until `close`."""

    async def listing(self, folder: Path) -> Any:
        return listing(folder)

    async def start(self, work: Work, number: int, packed_artifacts: bytes | None) -> None:
        """ConfigError where this machine isn't like the driver's. `packed_artifacts` come to another machine."""
        if work.folder.is_dir():
            os.chdir(work.folder)  # so that relative paths in the config mean the same
        self._line = Line()
        self._ledger = RemoteLedger(self._line)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._resting = 0
        artifacts = work.artifacts if packed_artifacts is None else self._unpack(packed_artifacts)
        plan = _plan(work, number)
        budget = work.config.budget
        meter = RemoteMeter(self._line, has_budget=budget.usd is not None or budget.tokens is not None)
        network = Network(work.config.patience)
        self._runner = Runner(plan, Runtime(work.config.seed, self._ledger, plan.roles, network, meter, artifacts))
        self._ledger.packed_replies[PREPARE] = work.prepared
        await self._runner.prepare_judges()
        self._line.is_open = True

    def _unpack(self, packed_artifacts: bytes) -> Path:
        self._temporary = tempfile.TemporaryDirectory(prefix="gristmill-")
        with tarfile.open(fileobj=io.BytesIO(packed_artifacts)) as archive:
            archive.extractall(self._temporary.name, filter="data")
        return Path(self._temporary.name)

    async def hear(self) -> list[Said]:
        said = await self._line.fetch()
        resting = self._runner.resting
        if resting != self._resting:
            self._resting = resting
            said.append(Resting(resting))
        return said

    async def tell(self, messages: list[Told]) -> None:
        for message in messages:
            if isinstance(message, Answered):
                self._line.answered(*message)
            else:
                task = asyncio.create_task(self._work(message))
                self._jobs.add(task)
                task.add_done_callback(self._jobs.discard)

    async def _work(self, assigned: Assigned) -> None:
        job = assigned.job
        self._ledger.packed_replies[job.task_id] = assigned.packed_replies
        self._line.say(Ended(job.position, await self._outcome(job)))
        del self._ledger.packed_replies[job.task_id]

    async def _outcome(self, job: Job) -> Any:
        try:
            return await self._runner.run(job)
        except GristmillError as error:
            return error
        except Exception as error:
            return GristmillError(f"a worker broke: {error!r}.")

    async def close(self) -> None:
        """Ends all jobs and leaves the resources; what was answered until then is still said."""
        for task in self._jobs:
            task.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        try:
            await self._runner.close()
        finally:
            if self._temporary:
                self._temporary.cleanup()
            self._line.say(Closed())


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """(path, bytes, time of change) of all files: equal on two machines that see the same folder."""
    stats = ((path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file())
    return [(str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def _plan(work: Work, number: int) -> Plan:
    """The driver's plan anew, with this worker's share of the calls in flight."""
    config = work.config
    models = {}
    for name, model in config.models.items():
        share = in_flight_share(Role(name, model), number, config.executor.workers)
        models[name] = model.model_copy(update={"max_in_flight": share})
    here = f"the worker on {socket.gethostname()}"
    try:
        generator, judges = pickle.loads(work.plugins)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{here} lacks code of the run: {error}. Install the same on all machines.") from None
    if code_digest(generator, judges) != work.code:
        raise ConfigError(
            f"{here} has other code of Gristmill, the generator or the judges than the machine that it works for. "
            "Install the same on all machines."
        )
    return Plan(config, generator, judges, Roles(models), "", work.code)


def in_flight_share(role: Role, number: int, workers: int) -> int:
    """How many calls of a role may be in flight from worker `number`: the shares add up to the role's limit."""
    whole, rest = divmod(role.in_flight, workers)
    return whole + (number < rest)
