"""The transport against a real server with faults: every request comes out, and what can't is one clear error."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from gristmill.errors import ConfigError, EndpointError, Reject, TaskFailed
from gristmill.llm import pool as module
from gristmill.llm.endpoint import Endpoint, Timeouts
from gristmill.llm.pool import Pool
from gristmill.testing import Faults, FaultServer
from schemas import JsonObject, canonical_json


def request(number: int) -> JsonObject:
    return {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}


async def ask(server: FaultServer, requests: int, *, in_flight: int = 16, patience: float = 20.0) -> list[object]:
    return await ask_all([server.url], requests, in_flight=in_flight, patience=patience)


async def ask_all(urls: list[str], requests: int, *, in_flight: int = 16, patience: float = 20.0) -> list[object]:
    endpoints = [Endpoint(url, None, in_flight=in_flight) for url in urls]
    pool = Pool(endpoints, patience, in_flight, Timeouts(30))
    try:
        asked = (pool.post("/chat/completions", request(number)) for number in range(requests))
        return list(await asyncio.gather(*asked, return_exceptions=True))
    finally:
        for endpoint in endpoints:
            await endpoint.close()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


async def test_every_request_comes_out_of_faults_and_is_answered_once() -> None:
    faults = Faults(status_429=0.2, status_500=0.1, reset=0.1, latency=0.005)
    with FaultServer(faults) as server:
        replies = await ask(server, 300)
        assert all(isinstance(reply, dict) for reply in replies)
        assert server.requests == 300 + server.met.total() and set(server.met) == {"status_429", "status_500", "reset"}
        assert set(server.answered.values()) == {1}


async def test_no_more_calls_in_flight_than_allowed() -> None:
    inside, most = 0, 0

    class Counting(FaultServer):
        async def _chat(self, request: web.Request) -> web.StreamResponse:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            try:
                return await super()._chat(request)
            finally:
                inside -= 1

    with Counting(Faults(latency=0.02)) as server:
        await ask(server, 40, in_flight=5)
    assert most == 5


async def test_a_poisonous_request_fails_alone() -> None:
    class Poisoned(FaultServer):
        def _draw(self, digest: str, attempt: int) -> str | None:
            return "status_500" if digest == poison else None

    from hashlib import sha256

    poison = sha256(canonical_json(request(7))).hexdigest()
    with Poisoned(Faults(latency=0.01)) as server:
        replies = await ask(server, 200, in_flight=2)
    failed = [number for number, reply in enumerate(replies) if not isinstance(reply, dict)]
    assert failed == [7] and isinstance(replies[7], TaskFailed) and "while it answered others" in str(replies[7])


async def test_a_busy_server_is_waited_for_however_often_it_refuses() -> None:
    with FaultServer(Faults(status_429=0.85, seed=3)) as server:
        replies = await ask(server, 30)
        assert all(isinstance(reply, dict) for reply in replies) and server.met["status_429"] > 8 * 10


async def test_retry_after_is_kept() -> None:
    with FaultServer(Faults(status_429=0.5, retry_after=0.3)) as server:
        started = asyncio.get_running_loop().time()
        await ask(server, 8)
        assert server.met["status_429"] > 0
        assert asyncio.get_running_loop().time() - started >= 0.3


@pytest.mark.parametrize(
    ("status", "message", "error", "sentence"),
    [
        (401, "no", ConfigError, "refuses a request without a key"),
        (404, "The model `m` does not exist", ConfigError, "unknown model or wrong address"),
        (307, "", ConfigError, "redirects elsewhere"),
        (400, "maximum context length is 10 tokens", Reject, "context_length"),
        (400, "temperature is odd", TaskFailed, "answers 400: temperature is odd"),
    ],
)
async def test_what_is_not_retried(status: int, message: str, error: type[Exception], sentence: str) -> None:
    class Refusing(FaultServer):
        async def _chat(self, request: web.Request) -> web.StreamResponse:
            self.requests += 1
            headers = {"Location": "http://elsewhere.invalid/v1"} if status == 307 else {}
            return web.json_response({"error": {"message": message}}, status=status, headers=headers)

    with Refusing() as server:
        (reply,) = await ask(server, 1)
        assert isinstance(reply, error) and sentence in str(reply) and server.requests == 1


async def test_a_plain_server_under_https_is_told_at_once() -> None:
    with FaultServer() as server:
        (reply,) = await ask_all([server.url.replace("http:", "https:")], 1)
    assert isinstance(reply, ConfigError) and "doesn't speak https" in str(reply)


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-out", "certificate.pem", "-keyout", "key.pem"]
    subprocess.run(["openssl", *made, *files], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    return context


async def test_a_certificate_that_nobody_signed_is_told_at_once(self_signed: ssl.SSLContext) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=self_signed)
    async with server:
        (reply,) = await ask_all([f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"], 1)
    assert isinstance(reply, ConfigError) and "can't be trusted (self-signed certificate)" in str(reply)


async def test_an_endpoint_that_never_answers_well_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 1.5)
    with FaultServer(Faults(status_500=1.0)) as server:
        (reply,) = await ask(server, 1)
    assert isinstance(reply, EndpointError) and "status 500" in str(reply)
