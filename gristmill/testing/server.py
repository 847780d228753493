"""An OpenAI-compatible server on loopback, with faults on demand and counters, in a thread of its own.

Faults are drawn from (seed, request, attempt), so a run meets the same ones again, and a retry gets a new draw.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Self

import orjson
from aiohttp import web

from gristmill.llm.embeddings import EMBEDDINGS
from gristmill.testing.scripted import Script, answer_by_default, embeddings_by_words
from schemas import canonical_json


@dataclass(frozen=True)
class Faults:
    """Shares (0..1) of requests that meet each fault; `latency` and `retry_after` in seconds."""

    status_429: float = 0.0
    status_500: float = 0.0
    reset: float = 0.0
    malformed: float = 0.0
    truncated: float = 0.0
    empty: float = 0.0
    latency: float = 0.0
    retry_after: float = 0.0
    seed: int = 0


_SHARES = [field.name for field in fields(Faults) if field.name not in ("latency", "retry_after", "seed")]


class FaultServer:
    """`with FaultServer(Faults(...)) as server:` serves `server.url`; `api_key` makes it refuse any other key."""

    def __init__(self, faults: Faults | None = None, script: Script | None = None, api_key: str | None = None) -> None:
        self.faults = faults or Faults()
        self.script = script or answer_by_default
        self.api_key = api_key
        self.longest_input = 0  # characters of a text to embed, without limit where 0
        self.url = ""
        self.requests = 0
        self.met: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()  # digest of a request -> good answers that it got
        self._attempts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = orjson.loads(body)
        self.requests += 1
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            told = f"incorrect API key provided: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": told}}, status=401)
        digest = sha256(canonical_json(asked)).hexdigest()
        self._attempts[digest] += 1
        fault = self._draw(digest, self._attempts[digest])
        await asyncio.sleep(self.faults.latency)
        if fault:
            self.met[fault] += 1
        if fault == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # nobody is there to read it
        if fault in ("status_429", "status_500"):
            headers = {"Retry-After": str(self.faults.retry_after)} if fault == "status_429" else {}
            return web.json_response({"error": {"message": "try later"}}, status=int(fault[-3:]), headers=headers)
        if request.path.endswith(EMBEDDINGS):
            if self.longest_input and max(map(len, asked["input"])) > self.longest_input:
                told = "the input is longer than the model's context length"
                return web.json_response({"error": {"message": told}}, status=400)
            self.answered[digest] += 1
            return web.json_response(embeddings_by_words(asked))
        return web.json_response(self._answer(asked, fault, digest))

    def _draw(self, digest: str, attempt: int) -> str | None:
        draw = random.Random(f"{self.faults.seed}|{digest}|{attempt}").random()
        for name in _SHARES:
            draw -= getattr(self.faults, name)
            if draw < 0:
                return name
        return None

    def _answer(self, asked: dict[str, Any], fault: str | None, digest: str) -> dict[str, Any]:
        answer = self.script("", asked)
        content = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
        finish = "stop"
        if fault == "malformed":
            content = content[: len(content) // 2].replace('"', "'")
        elif fault == "truncated":
            content, finish = content[: len(content) // 2], "length"
        elif fault == "empty":
            content = ""
        else:
            self.answered[digest] += 1
        return {
            "id": "x",
            "created": int(time.time()),
            "model": asked.get("model"),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}],
            "usage": {"prompt_tokens": len(canonical_json(asked)) // 4, "completion_tokens": len(content) // 4 + 1},
        }
