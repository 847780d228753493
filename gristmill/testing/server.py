"""An OpenAI-compatible server on loopback, with faults on demand and counters, in a thread of its own.

Faults are drawn from (seed, request, attempt), so a run meets the same ones again, and a retry gets a new draw. What
the server understands is its `Dialect`; `down()` and `up()` take it away and bring it back at the same address.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Literal, Self

import orjson
from aiohttp import web

from gristmill.llm.embeddings import EMBEDDINGS
from gristmill.testing.scripted import Script, answer_by_default, embeddings_by_words
from schemas import Message, canonical_json

Understands = Literal["follows", "ignores", "refuses"]
PIECE = 24  # characters of a streamed piece


@dataclass(frozen=True)
class Faults:
    """Shares (0..1) of requests that meet each fault; `latency`, `slow_latency` and `retry_after` in seconds.

    Before the answer: status_429, status_500, reset (of the connection), slow. In it: malformed (only where JSON was
    asked), truncated, empty. In the middle of a stream: cut (reset), error (an event), stall (silence without end),
    loop (the same words without end); a reply that isn't streamed meets none of these. `capacity` is how many calls
    the server bears at once; each one more is a 429.
    """

    status_429: float = 0.0
    status_500: float = 0.0
    reset: float = 0.0
    slow: float = 0.0
    malformed: float = 0.0
    truncated: float = 0.0
    empty: float = 0.0
    cut: float = 0.0
    error: float = 0.0
    stall: float = 0.0
    loop: float = 0.0
    latency: float = 0.0
    slow_latency: float = 0.0
    retry_after: float = 0.0
    capacity: int | None = None
    seed: int = 0


_NO_SHARES = ("latency", "slow_latency", "retry_after", "capacity", "seed")
_SHARES = [field.name for field in fields(Faults) if field.name not in _NO_SHARES]
_IN_STREAM = ("cut", "error", "stall", "loop")


@dataclass(frozen=True)
class Dialect:
    """What a server understands of structured output, how it names things, and where it puts a trace."""

    json_schema: Understands = "follows"
    json_object: Understands = "follows"
    tools: Understands = "follows"
    stream_options: bool = True
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    trace: Literal["reasoning_content", "reasoning", "think"] = "reasoning_content"

    def refusal(self, asked: dict[str, Any]) -> str | None:
        """The complaint about a request in a form that this server refuses."""
        form = (asked.get("response_format") or {}).get("type")
        if form in ("json_schema", "json_object") and getattr(self, form) == "refuses":
            return f"response_format of type {form} is not supported"
        if "tools" in asked and self.tools == "refuses":
            return "tools are not supported by this model"
        if "stream_options" in asked and not self.stream_options:
            return "Extra inputs are not permitted: stream_options"
        other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[self.limit_name]
        if other in asked:
            return (
                f"Unsupported parameter: '{other}' is not supported with this model. Use '{self.limit_name}' instead."
            )
        return None

    def schema(self, asked: dict[str, Any]) -> tuple[Any, bool]:
        """(the schema that the answer will fit or None, whether the answer is a call)."""
        shape = asked.get("response_format") or {}
        if shape.get("type") == "json_schema":
            return (shape["json_schema"]["schema"], False) if self.json_schema == "follows" else (None, False)
        if "tool_choice" in asked:
            tool = asked["tools"][0]["function"]
            return (tool["parameters"], True) if self.tools == "follows" else (None, False)
        if shape.get("type") == "json_object" and self.json_object == "ignores":
            return None, False
        return _schema_in_text(asked["messages"][-1].get("content") or ""), False


def _schema_in_text(text: str) -> Any:
    """A JSON schema that is the prompt's last line: models do what they are told."""
    try:
        schema = orjson.loads(text.rsplit("\n", 1)[-1])
    except orjson.JSONDecodeError:
        return None
    return schema if isinstance(schema, dict) and "properties" in schema else None


class FaultServer:
    """`with FaultServer(Faults(...)) as server:` serves `server.url`; `api_key` makes it refuse any other key.

    `script(role, request)` answers as for `ScriptedModel`; the request is in its canonical form, with a
    `response_format` where the answer will fit a schema.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        script: Script | None = None,
        api_key: str | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.script = script or answer_by_default
        self.api_key = api_key
        self.dialect = dialect or Dialect()
        self.longest_input = 0  # characters of a text to embed, without limit where 0
        self.url = ""
        self.requests = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.met: Counter[str] = Counter()
        self.forms: Counter[str] = Counter()  # how structured answers were asked for
        self.answered: Counter[str] = Counter()  # digest of a request -> good answers that it got
        self._attempts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def down(self) -> None:
        """Refuses connections and resets those that are open."""
        self._do(self._stop_listening())

    def up(self) -> None:
        """Serves again, at the same address."""
        self._do(self._listen())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(self._runner.setup())
        self._loop.run_until_complete(self._listen())
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop_listening(self) -> None:
        await self._site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answered(request, asked)
        finally:
            self.in_flight -= 1

    async def _answered(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        key = request.headers.get("Authorization")
        if self.api_key and key != f"Bearer {self.api_key}":
            return _error(401, f"incorrect API key provided: {key}")
        if self.faults.capacity is not None and self.in_flight > self.faults.capacity:
            self.met["over_capacity"] += 1
            return _error(429, "too many calls at once", self.faults.retry_after)
        if complaint := self.dialect.refusal(asked):
            self.met["form"] += 1
            return _error(400, complaint)
        digest = sha256(canonical_json(asked)).hexdigest()
        self._attempts[digest] += 1
        fault = self._draw(digest, self._attempts[digest])
        embeds = request.path.endswith(EMBEDDINGS)
        schema, by_call = (None, False) if embeds else self.dialect.schema(asked)
        if (fault == "malformed" and schema is None) or (fault in _IN_STREAM and not asked.get("stream")):
            fault = None
        if fault:
            self.met[fault] += 1
        await asyncio.sleep(self.faults.slow_latency if fault == "slow" else self.faults.latency)
        if fault == "reset":
            return _reset(request)
        if fault in ("status_429", "status_500"):
            return _error(int(fault[-3:]), "try later", self.faults.retry_after if fault == "status_429" else 0)
        if embeds:
            if self.longest_input and max(map(len, asked["input"])) > self.longest_input:
                return _error(400, "the input is longer than the model's context length")
            self.answered[digest] += 1
            return web.json_response(embeddings_by_words(asked))
        self.forms["tool" if by_call else (asked.get("response_format") or {}).get("type", "text")] += 1
        body = self._answer(asked, fault, digest, schema, by_call)
        return await _stream(request, asked, body, fault) if asked.get("stream") else web.json_response(body)

    def _draw(self, digest: str, attempt: int) -> str | None:
        draw = random.Random(f"{self.faults.seed}|{digest}|{attempt}").random()
        for name in _SHARES:
            draw -= getattr(self.faults, name)
            if draw < 0:
                return name
        return None

    def _answer(
        self, asked: dict[str, Any], fault: str | None, digest: str, schema: Any, by_call: bool
    ) -> dict[str, Any]:
        canonical = {key: value for key, value in asked.items() if key != "response_format"}
        if schema is not None:
            canonical["response_format"] = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
        answer = self.script("", canonical)
        if not isinstance(answer, Message):
            answer = Message(role="assistant", content=answer if isinstance(answer, str) else _json(answer))
        content, trace, finish = answer.content, answer.reasoning_content or "", "stop"
        if fault == "malformed":
            content = content[: len(content) // 2].replace('"', "'")
        elif fault == "truncated":
            content, finish = content[: len(content) // 2], "length"
        elif fault == "empty":
            content = ""
        elif fault not in _IN_STREAM:
            self.answered[digest] += 1
        usage = {"prompt_tokens": len(canonical_json(asked)) // 4, "completion_tokens": len(trace + content) // 4 + 1}
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if answer.tool_calls:
            message["tool_calls"] = [call.model_dump(mode="json") for call in answer.tool_calls]
        if by_call:
            function = {"name": asked["tools"][0]["function"]["name"], "arguments": content}
            message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": function}]}
        elif trace and self.dialect.trace == "think":
            message["content"] = f"<think>\n{trace}\n</think>\n\n{content}"
        elif trace:
            message[self.dialect.trace] = trace
        return {
            "id": "x",
            "created": int(time.time()),
            "model": asked.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }


def _json(answer: Any) -> str:
    return orjson.dumps(answer).decode()


def _error(status: int, message: str, retry_after: float = 0.0) -> web.Response:
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody is there to read it


async def _stream(
    request: web.Request, asked: dict[str, Any], body: dict[str, Any], fault: str | None
) -> web.StreamResponse:
    """The answer as server-sent events, in pieces; half of it where a fault breaks in."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    choice = body["choices"][0]
    deltas = list(_deltas(choice["message"]))
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if fault in _IN_STREAM:
        await _send(response, events[: (len(events) + 1) // 2])
        return await _break_in(request, response, fault)
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        events.append({"choices": [], "usage": body["usage"]})
    await _send(response, [{"model": body["model"], **event} for event in events])
    await response.write(b"data: [DONE]\n\n")
    return response


async def _break_in(request: web.Request, response: web.StreamResponse, fault: str | None) -> web.StreamResponse:
    if fault == "error":
        await _send(response, [{"error": {"message": f"overloaded; sent: {request.headers.get('Authorization')}"}}])
    elif fault == "stall":
        await asyncio.sleep(600)
    elif fault == "loop":
        with suppress(ConnectionError):  # the client has enough
            while True:
                await _send(response, [{"choices": [{"index": 0, "delta": {"content": "and so on, "}}]}] * 50)
                await asyncio.sleep(0.001)  # other calls want to be served as well
    if request.transport is not None:
        request.transport.abort()
    return response


async def _send(response: web.StreamResponse, events: list[dict[str, Any]]) -> None:
    for start in range(0, len(events), 100):
        await response.write(b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events[start : start + 100]))


def _deltas(message: dict[str, Any]) -> Any:
    for name in ("reasoning_content", "reasoning", "content"):
        text = message.get(name) or ""
        yield from ({name: text[start : start + PIECE]} for start in range(0, len(text), PIECE))
    for index, call in enumerate(message.get("tool_calls") or []):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        yield {"tool_calls": [{"index": index, "id": call["id"], "function": {"name": name, "arguments": ""}}]}
        for start in range(0, len(arguments), PIECE):
            piece = {"index": index, "function": {"arguments": arguments[start : start + PIECE]}}
            yield {"tool_calls": [piece]}
