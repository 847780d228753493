"""What a running task sees of the world. Every model call goes through here, and so through the ledger."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

import orjson

from gristmill.budget import Estimate
from gristmill.errors import Reject, TaskFailed
from gristmill.ledger_file import Call
from gristmill.llm import Reply, Role, Roles, Shape, Transport, answer_shape
from gristmill.llm.embeddings import EMBEDDINGS, Vector, batches, vectors_of
from gristmill.prompts import Prompt, PromptFolder
from gristmill.resources import Resources
from gristmill.scope import Scope
from gristmill.tools import text_protocol
from schemas import Answer, Json, JsonObject, Message, Provenance, Tool, Usage, canonical_json, user

if TYPE_CHECKING:
    from gristmill.sandbox import TaskSandbox

T = TypeVar("T")
A = TypeVar("A", bound=Answer)


class CallLedger(Protocol):
    """What a task needs of the ledger: `gristmill.ledger.Ledger`, or a worker's line to it."""

    def reply(self, task_id: str, key: bytes) -> bytes | None: ...

    async def record_call(self, call: Call) -> None: ...


class CallMeter(Protocol):
    """What a task needs of the meter: `gristmill.budget.Meter`, or a worker's line to it."""

    calls_reused: int

    async def reserve(self, role: Role, request_bytes: int, request: JsonObject) -> Estimate: ...

    def pay(self, role: Role, stage: str, usage: Usage) -> None: ...

    def release(self, role: Role, estimate: Estimate) -> None: ...


@dataclass(slots=True)
class Runtime:
    """What all tasks of a run share, or those of one worker."""

    seed: int
    ledger: CallLedger
    roles: Roles
    transport: Transport
    meter: CallMeter
    artifacts: Path
    resources: Resources = field(default_factory=Resources)


@dataclass(slots=True)
class Task:
    """One task and what it has used so far."""

    id: str
    input: int = 0
    output: int = 0
    reasoning: int = 0
    cached: int = 0
    usd: float = 0.0
    models: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def used(self, role: str, model: str, reply: Reply) -> None:
        """Counts a reply, whoever paid for it and when."""
        usage = reply.usage
        self.input += usage.input
        self.output += usage.output
        self.reasoning += usage.reasoning
        self.cached += usage.cached
        self.usd += reply.usd
        self.models[role] = model
        self.calls.append(reply.key)

    def provenance(self, seed: int) -> Provenance:
        """Sorted, so that it doesn't depend on the order in which calls were answered."""
        return Provenance(
            models=dict(sorted(self.models.items())),
            prompts=dict(sorted(self.prompts.items())),
            calls=sorted(self.calls),
            tokens=Usage(input=self.input, output=self.output, reasoning=self.reasoning, cached=self.cached),
            usd=round(self.usd, 9),
            seed=seed,
        )


_scope: ContextVar[Scope] = ContextVar("scope")


class Context:
    """The world of one task, for a generator or a judge (they differ in their prompts)."""

    def __init__(self, runtime: Runtime, task: Task, prompts: PromptFolder) -> None:
        self._runtime = runtime
        self._task = task
        self._prompts = prompts

    @property
    def task_id(self) -> str:
        return self._task.id

    @property
    def rng(self) -> random.Random:
        """Seeded from the config's seed, the task id and the scope."""
        return _scope.get().rng

    @property
    def artifacts(self) -> Path:
        """The folder of what `prepare` made."""
        return self._runtime.artifacts

    async def resource(self, make: Callable[..., AbstractContextManager[T]], *arguments: Hashable) -> T:
        """What entering `make(*arguments)` gives: started once per run on first use, closed when the run ends."""
        return await self._runtime.resources.get(make, *arguments)

    @property
    def sandbox(self) -> "TaskSandbox":
        """Where a task runs code; see gristmill/sandbox/task.py."""
        from gristmill.sandbox import TaskSandbox

        return TaskSandbox(self)

    def model(self, role: str) -> str:
        """The name of the model behind a role."""
        return self._runtime.roles[role].model

    def embedder(self, role: str) -> str:
        """The name of the model with which a role embeds. ConfigError where the config has no such role."""
        return self._runtime.roles.embedder(role).embedder

    def effort(self, role: str) -> str | None:
        """The reasoning effort that a role asks for; None where its config names none."""
        return self._runtime.roles[role].effort

    @contextmanager
    def scope(self, path: str, stage: str) -> Iterator[Scope]:
        """Runs a part of the task under a path and a stage of its own; gives the scope."""
        scope = Scope(path, stage, f"{self._runtime.seed}|{self._task.id}")
        token = _scope.set(scope)
        try:
            yield scope
        finally:
            _scope.reset(token)

    def prompt(self, name: str, /, **variables: Any) -> str:
        """`prompts/NAME.jinja` rendered with exactly these variables."""
        return self.render(self._prompts[name], variables)

    def render(self, prompt: Prompt, variables: Mapping[str, Any]) -> str:
        """A prompt that doesn't lie in the folder, such as one from a config."""
        self._task.prompts[prompt.name] = prompt.digest
        return prompt.render(variables)

    async def ask(self, role: str, prompt: str, answer: type[A], /, **variables: Any) -> A:
        """A structured answer to a prompt; Reject(llm, unparseable) after the role's `repairs` further tries."""
        reply: A = await self.answer(role, [user(self.prompt(prompt, **variables))], answer_shape(answer))
        return reply

    async def answer(self, role: str, messages: list[Message], shape: Shape[T]) -> T:
        """A structured answer to messages."""
        chosen = self._runtime.roles[role]
        problem = ""
        for _ in range(1 + chosen.config.repairs):
            request = chosen.chat_request(messages, [], shape, {})
            reply = await self._answered(role, chosen, "/chat/completions", request)
            try:
                return shape.parse(reply.structured_text)
            except ValueError as error:
                problem = str(error)
        raise Reject("llm", "unparseable", problem, reply=reply.structured_text)

    async def chat(self, role: str, messages: list[Message], *, tools: Iterable[Tool] = (), **sampling: Any) -> Reply:
        """A free answer to messages, with its native trace. `sampling` overrides the role's values for this call.

        Where the role's endpoint knows no tool calls, tools go through `gristmill.tools.text_protocol`, which may add
        Reject(llm, text_protocol). The ids of calls are unique in the conversation, whatever the endpoint sends.
        """
        chosen = self._runtime.roles[role]
        offered = list(tools)
        if offered and chosen.calls_as_text:
            sampling["stop"] = [*(sampling.get("stop") or chosen.config.stop or []), *text_protocol.STOP]
            request = chosen.chat_request(text_protocol.as_text(messages, offered), [], None, sampling)
            reply = await self._answered(role, chosen, "/chat/completions", request)
            reply.message = text_protocol.read_turn(reply.message)
        else:
            request = chosen.chat_request(messages, offered, None, sampling)
            reply = await self._answered(role, chosen, "/chat/completions", request)
        if reply.message.tool_calls:
            reply.message = _with_new_ids(reply.message, messages)
        return reply

    async def complete(self, role: str, text: str, **sampling: Any) -> str:
        """A continuation of `text` by a base model."""
        chosen = self._runtime.roles[role]
        reply = await self._answered(role, chosen, "/completions", chosen.completion_request(text, sampling))
        return reply.text

    async def embed(self, role: str, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in batches. The role must be in the config. Reject(llm, context_length) for a text that
        the embedder can't read."""
        chosen = self._runtime.roles.embedder(role)
        made = await self.gather(self._embed(role, chosen, batch) for batch in batches(texts))
        return [vector for vectors in made for vector in vectors]

    async def _embed(self, role: str, chosen: Role, batch: list[str]) -> list[Vector]:
        reply = await self._call(role, chosen, EMBEDDINGS, chosen.embedding_request(batch))
        try:
            return vectors_of(reply, len(batch))
        except ValueError as error:
            raise TaskFailed("llm", f"the role {role} gives {error}") from None

    @overload
    async def gather(self, *branches: Awaitable[T] | Iterable[Awaitable[T]]) -> list[T]: ...
    @overload
    async def gather(
        self, *branches: Awaitable[T] | Iterable[Awaitable[T]], keep_rejects: Literal[True]
    ) -> list[T | Reject]: ...
    async def gather(self, *branches: Awaitable[T] | Iterable[Awaitable[T]], keep_rejects: bool = False) -> list[Any]:
        """Runs awaitables (or one iterable of them) at once, each in a scope of its own; results in their order.

        All of them end before this returns. The first failure in branch order is raised; with `keep_rejects` a
        rejected branch gives its Reject as its result instead.
        """
        awaitables: list[Awaitable[T]] = []
        for branch in branches:
            if isinstance(branch, Awaitable):
                awaitables.append(branch)
            else:
                awaitables.extend(branch)
        parent = _scope.get()
        tasks = [asyncio.create_task(_in_scope(parent.branch(), awaitable)) for awaitable in awaitables]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not (keep_rejects and isinstance(result, Reject)):
                raise result
        return results

    async def _answered(self, role: str, chosen: Role, path: str, request: JsonObject) -> Reply:
        """The reply where it is an answer; one longer retry if the role has `retry_longer`, else Reject."""
        reply = await self._call(role, chosen, path, request)
        longer = chosen.config.retry_longer
        if longer is not None and reply.fault() == "truncated":
            reply = await self._call(role, chosen, path, {**request, "max_tokens": longer.max_tokens})
        return reply.require_answer()

    async def effect(self, kind: str, request: Json, perform: Callable[[], Awaitable[Json]]) -> Json:
        """What `perform` gives for `request`: anything but a model call that touches the world (a query to a public
        service, a run in the sandbox). Performed once; a replay gets the recorded value."""
        runtime, task, scope = self._runtime, self._task, _scope.get()
        key = scope.call_key(canonical_json([kind, request]))
        task.calls.append(key.hex())
        kept = runtime.ledger.reply(task.id, key)
        if kept is not None:
            runtime.meter.calls_reused += 1
            replayed: Json = orjson.loads(kept)
            return replayed
        started = time.monotonic()
        value = await perform()
        seconds = time.monotonic() - started
        await runtime.ledger.record_call(
            Call(task.id, key, scope.path, scope.stage, kind, "", "", 0, 0, 0, 0, 0.0, seconds, time.time(), True,
                 orjson.dumps(value))
        )  # fmt: skip
        return value

    async def _call(self, role: str, chosen: Role, path: str, request: JsonObject) -> Reply:
        runtime, task, scope = self._runtime, self._task, _scope.get()
        written = orjson.dumps(request)  # in its own order: that of a schema's fields changes what a model answers
        key = scope.call_key(written)
        kept = runtime.ledger.reply(task.id, key)
        if kept is not None:
            reply = Reply.from_json(kept)
            runtime.meter.calls_reused += 1
            usd = chosen.cost(reply.usage)
        else:
            reserved = await runtime.meter.reserve(chosen, len(written), request)
            started = time.monotonic()
            try:
                reply = await runtime.transport.send(chosen, path, request)
                runtime.meter.pay(chosen, scope.stage, reply.usage)
            finally:
                runtime.meter.release(chosen, reserved)
            seconds = time.monotonic() - started
            usage, usd = reply.usage, chosen.cost(reply.usage)
            await runtime.ledger.record_call(
                Call(task.id, key, scope.path, scope.stage, role, reply.model, reply.finish_reason, usage.input,
                     usage.output, usage.reasoning, usage.cached, usd, seconds, time.time(), True, reply.to_json())
            )  # fmt: skip
        reply.usd, reply.key = usd, key.hex()
        scope.spend(usd)
        task.used(role, str(request["model"]), reply)
        return reply


def _with_new_ids(turn: Message, before: Iterable[Message]) -> Message:
    """The turn with `call_N` for each id that is empty or taken: some servers count anew in every reply."""
    taken = {call.id for message in before for call in message.tool_calls} | {""}
    calls = []
    for call in turn.tool_calls:
        if call.id in taken:
            call = call.model_copy(update={"id": next(i for i in map("call_{}".format, count(1)) if i not in taken)})
        taken.add(call.id)
        calls.append(call)
    return turn.model_copy(update={"tool_calls": calls})


async def _in_scope(scope: Scope, awaitable: Awaitable[T]) -> T:
    _scope.set(scope)
    return await awaitable
