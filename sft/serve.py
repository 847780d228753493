"""A checkpoint as an OpenAI-compatible endpoint on loopback, for `gristmill evaluate`: chats, not streamed.

    with served(Path("out/sft1/stages/heal")) as url: ...        # http://127.0.0.1:PORT/v1

Requests that wait together are answered in one batch, by the trainer's own loop. `chat_template_kwargs:
{enable_thinking: false}` and `reasoning_effort: low` are the format's modes.
"""

import asyncio
import json
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import torch
from aiohttp import web
from pydantic import ValidationError

from gristmill.render import Renderer, RenderError, checkpoint_renderer
from gristmill.render.nemotron3 import THINK
from schemas import Message, Record, Tool
from sft.generate import Request, generate
from sft.model import CausalLM, computing, load_model, vocabulary_of
from sft.replies import read_reply

GATHER_SECONDS = 0.02  # for requests that come together
MOST = 64
DEFAULT_TOKENS = 512


class Asked(NamedTuple):
    """A request on its way to the model. `answer` gets token ids."""

    prompt: list[int]
    stream: list[int]  # seeds its draws
    temperature: float
    max_tokens: int
    answer: "asyncio.Future[list[int]]"


@contextmanager
def served(folder: Path, precision: str = "fp32", drafts: int = 0) -> Iterator[str]:
    """The URL at which the checkpoint is served in its own chat format, as long as the context lasts; so many `drafts`
    of its MTP head are verified at a time."""
    renderer = checkpoint_renderer(folder)
    model = load_model(str(folder), vocabulary_of(renderer.tokenizer), seed=0)[0].eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    server = _Server(model, renderer, precision, drafts)
    loop = asyncio.new_event_loop()
    threads = [Thread(target=loop.run_forever, daemon=True), Thread(target=server.answer, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    finally:
        server.waiting.put(None)
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        for thread in threads:
            thread.join()
        loop.close()


class _Server:
    def __init__(self, model: CausalLM, renderer: Renderer, precision: str, drafts: int) -> None:
        self.model, self.renderer, self.precision, self.drafts = model, renderer, precision, drafts
        self.waiting: queue.Queue[Asked | None] = queue.Queue()
        self.runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        if self.runner:
            await self.runner.cleanup()

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "checkpoint", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        try:
            record = _record(body)
            prompt = self.renderer.prompt(record).tolist()
        except (ValidationError, RenderError, KeyError) as error:
            return web.json_response({"error": {"message": " ".join(str(error).split())}}, status=400)
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        most = int(body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_TOKENS)
        stream = list(sha256(json.dumps(body, sort_keys=True).encode()).digest()[:8])
        self.waiting.put(Asked(prompt, stream, float(body.get("temperature") or 0.0), most, future))
        ids = await future
        ended = ids[-1] == self.renderer.tokenizer.eos_id
        text = self.renderer.tokenizer.decode(ids[:-1] if ended else ids)
        opened = self.renderer.tokenizer.decode(prompt).rstrip().endswith(THINK)
        message = read_reply(text, opened, record.tools).to_openai()
        reason = ("tool_calls" if "tool_calls" in message else "stop") if ended else "length"
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids), "total_tokens": len(prompt) + len(ids)}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        made = {"id": "chat", "object": "chat.completion", "created": int(time.time()), "model": "checkpoint"}
        return web.json_response({**made, "choices": [choice], "usage": usage})

    def answer(self) -> None:
        """Runs in a thread of its own until None comes."""
        while (first := self.waiting.get()) is not None:
            time.sleep(GATHER_SECONDS)
            asked = [first]
            while len(asked) < MOST and not self.waiting.empty():
                following = self.waiting.get()
                if following is None:
                    self.waiting.put(None)
                    break
                asked.append(following)
            for temperature, most in {(one.temperature, one.max_tokens) for one in asked}:
                self._generate([one for one in asked if (one.temperature, one.max_tokens) == (temperature, most)])

    def _generate(self, asked: list[Asked]) -> None:
        requests = [Request(one.prompt, one.stream) for one in asked]
        end, device = self.renderer.tokenizer.eos_id, self.model.device
        try:
            with computing(self.precision, device):
                answers = generate(self.model, requests, end, asked[0].temperature, asked[0].max_tokens, self.drafts)
        except Exception as error:  # goes to those who wait for it, as a status 500
            for one in asked:
                one.answer.get_loop().call_soon_threadsafe(one.answer.set_exception, error)
            return
        for one, ids in zip(asked, answers, strict=True):
            one.answer.get_loop().call_soon_threadsafe(one.answer.set_result, ids)


def _record(body: dict[str, Any]) -> Record:
    options = body.get("chat_template_kwargs") or {}
    low = body.get("reasoning_effort") == "low" or options.get("low_effort")
    return Record(
        messages=[Message.model_validate(message) for message in body["messages"]],
        tools=[Tool.model_validate(tool) for tool in body.get("tools") or []],
        reasoning="off" if options.get("enable_thinking") is False else "low" if low else "on",
    )
