"""How hard endpoints are asked, what is waited for and what is given up: limits, back-off, circuits, pools."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gristmill.errors import EndpointError, Reject, TaskFailed
from gristmill.llm import pool as module
from gristmill.llm.endpoint import Endpoint, Timeouts
from gristmill.llm.limits import Circuit, Limit
from gristmill.llm.pool import Pool
from gristmill.testing import Faults, FaultServer
from schemas import JsonObject
from tests.runs import run, two_calls


def request(number: object) -> JsonObject:
    return {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}


@asynccontextmanager
async def pool_of(
    *urls: str, in_flight: int = 16, patience: float = 20.0, seconds: float = 30.0
) -> AsyncIterator[Pool]:
    endpoints = [Endpoint(url, None, in_flight=in_flight) for url in urls]
    try:
        yield Pool(endpoints, patience, in_flight, Timeouts(seconds))
    finally:
        for endpoint in endpoints:
            await endpoint.close()


async def ask(pool: Pool, count: int, workers: int = 32, name: str = "") -> list[Any]:
    """`count` requests, `workers` of them at once, as an engine keeps tasks running."""
    numbers = iter(range(count))
    results: list[Any] = []

    async def work() -> None:
        for number in numbers:
            try:
                results.append(await pool.post("/chat/completions", request(f"{name}{number}")))
            except Exception as error:
                results.append(error)

    await asyncio.gather(*(work() for _ in range(workers)))
    return results


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.01)


def answered(results: list[Any]) -> int:
    return sum(isinstance(result, dict) for result in results)


# ---- the limit of calls in flight


def window(limit: Limit, strained: float, rng: random.Random, rest: float = 0.0) -> None:
    for _ in range(int(max(16, 2 * limit.allowed)) + 1):
        refused = rng.random() < strained
        limit.saw(refused, rest if refused else 0.0)


def test_random_refusals_do_not_shrink_the_limit() -> None:
    limit, rng = Limit(64), random.Random(0)
    for _ in range(300):
        window(limit, 0.05, rng)
        assert limit.allowed == 64


def test_an_overloaded_server_shrinks_the_limit_and_it_grows_back() -> None:
    limit, rng = Limit(64), random.Random(0)
    for _ in range(20):
        window(limit, 0.6, rng)
    assert limit.allowed == 1
    for _ in range(60):
        window(limit, 0.0, rng)
    assert limit.allowed == 64


async def test_the_limit_comes_near_what_the_server_bears_and_back_up_when_it_recovers() -> None:
    with FaultServer(Faults(latency=0.01, capacity=8)) as server:
        async with pool_of(server.url, in_flight=64) as pool:
            limit = pool.endpoints[0].limit
            results = await ask(pool, 700, workers=128)
            assert answered(results) == 700
            assert 4 <= limit.allowed <= 16, f"{limit.allowed} allowed where 8 are borne"
            refused, server.faults = server.met["over_capacity"], Faults(latency=0.005)
            assert refused < 1000
            assert answered(await ask(pool, 1800, workers=128, name="more")) == 1800
            assert limit.allowed == 64 and server.met["over_capacity"] == refused


async def test_five_percent_of_refusals_keep_all_places_in_use() -> None:
    with FaultServer(Faults(latency=0.01, status_429=0.05)) as server:
        async with pool_of(server.url, in_flight=32) as pool:
            assert answered(await ask(pool, 600, workers=64)) == 600
            assert pool.endpoints[0].limit.allowed == 32 and server.met["status_429"] > 10
        assert server.requests == 600 + server.met.total() and server.most_in_flight == 32


async def test_a_place_that_a_cancelled_call_was_given_is_free_again() -> None:
    limit = Limit(1)
    async with limit:
        waiting = [asyncio.create_task(limit.__aenter__()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    waiting[1].cancel()  # its place was given a moment ago
    await asyncio.wait(waiting, timeout=5)
    assert [task.cancelled() for task in waiting] == [True, True, False] and limit.in_flight == 1


async def test_retry_after_delays_its_own_call_alone() -> None:
    """One call in ten is told to wait for a second: the others go on meanwhile."""
    served: list[float] = []

    class Telling(FaultServer):
        async def _chat(self, asked: web.Request) -> web.StreamResponse:
            response = await super()._chat(asked)
            if response.status == 200:
                served.append(time.monotonic())
            return response

    with Telling(Faults(status_429=0.1, retry_after=1.0, latency=0.005, seed=1)) as server:
        async with pool_of(server.url) as pool:
            assert answered(await ask(pool, 100)) == 100
        met = server.met["status_429"]
    early = sum(at - served[0] < 0.9 for at in served)
    assert 0 < met < 25 and early >= 100 - met


async def test_the_endpoint_rests_where_a_window_is_bad() -> None:
    limit = Limit(16)
    for number in range(32):
        limit.saw(strained=number < 10, rest=0.3 if number == 5 else 0.0)
    started = time.monotonic()
    async with limit:
        assert time.monotonic() - started >= 0.25, "the Retry-After of any call of the window counts"
    for number in range(64):
        limit.saw(strained=number % 16 == 0, rest=9.0)
    started = time.monotonic()
    async with limit:
        assert time.monotonic() - started < 5, "in a good window it is the call's own affair"


async def test_back_off_has_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are drawn from zero to a ceiling that doubles, so calls refused together don't come together."""
    ceilings: list[float] = []

    def draw(low: float, high: float) -> float:
        assert low == 0.0
        ceilings.append(high)
        return 0.0

    with FaultServer(Faults(status_429=1.0)) as server:
        async with pool_of(server.url) as pool:
            monkeypatch.setattr(random, "uniform", draw)
            asked = asyncio.create_task(pool.post("/chat/completions", request(1)))
            await until(lambda: len(ceilings) >= 10)
            asked.cancel()
            await asyncio.wait([asked])
    assert ceilings[:10] == [min(module.LONGEST_PAUSE, module.FIRST_PAUSE * 2**n) for n in range(1, 11)]


@pytest.mark.parametrize("header", ["nan", "-5", "inf", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
async def test_a_retry_after_that_is_no_number_is_left_to_the_back_off(header: str) -> None:
    class Odd(FaultServer):
        async def _chat(self, asked: web.Request) -> web.StreamResponse:
            if self.requests:
                return await super()._chat(asked)
            self.requests += 1
            return web.json_response({"error": "busy"}, status=429, headers={"Retry-After": header})

    with Odd() as server:
        async with pool_of(server.url) as pool:
            assert answered(await ask(pool, 1)) == 1 and server.requests == 2


# ---- circuits and pools


def test_only_a_probe_that_fails_makes_the_pause_longer() -> None:
    circuit = Circuit()
    calls = [circuit.enter() for _ in range(64)]
    for probe in calls:
        circuit.failed(probe)
    assert circuit.is_open and circuit._pause == 2 * Circuit.FIRST_PAUSE
    circuit._probe_at = 0.0
    assert circuit.admits() and circuit.enter() and not circuit.admits()
    circuit.failed(probe=False)  # a call from before
    assert not circuit.admits(), "the probe is still out"
    circuit.close()
    assert circuit.admits() and not circuit.enter()


async def test_a_server_that_restarts_is_used_again_within_moments() -> None:
    """128 calls wait when it dies. Were each of them sent, to fail, the pauses would grow to many seconds."""
    with FaultServer(Faults(latency=0.02)) as server:
        async with pool_of(server.url, in_flight=16, patience=60) as pool:
            asked = asyncio.create_task(ask(pool, 400, workers=128))
            await until(lambda: server.answered.total() > 100)
            server.down()
            await until(lambda: pool.endpoints[0].circuit.is_open)
            await asyncio.sleep(0.5)
            assert pool.endpoints[0].circuit._pause <= 2.0
            server.up()
            back = time.monotonic()
            assert answered(await asked) == 400
            assert time.monotonic() - back < 20  # a busy machine needs a while for 300 calls
        assert server.requests <= 400 + 16 + 128


async def test_the_others_of_a_pool_take_over_and_the_lost_one_comes_back() -> None:
    with FaultServer(Faults(latency=0.01)) as one, FaultServer(Faults(latency=0.01)) as two:
        async with pool_of(one.url, two.url) as pool:
            asked = asyncio.create_task(ask(pool, 1500, workers=64))
            await until(lambda: one.answered.total() > 100 and two.answered.total() > 100)
            one.down()
            alone = two.answered.total()
            await until(lambda: two.answered.total() > alone + 200)
            before = one.requests
            one.up()
            await until(lambda: one.requests > before + 100)
            assert answered(await asked) == 1500
        assert one.requests + two.requests <= 1500 + 2 * 16


async def test_calls_are_shared_out_by_how_busy_the_endpoints_are() -> None:
    """Also those that wait: else all that find no place would queue at the first endpoint."""
    with FaultServer(Faults(latency=0.02)) as one, FaultServer(Faults(latency=0.02)) as two:
        async with pool_of(one.url, two.url, in_flight=4) as pool:
            assert answered(await ask(pool, 400, workers=64)) == 400
        assert 120 < one.requests < 280 and one.requests + two.requests == 400


async def test_an_endpoint_that_fails_fast_does_not_attract_the_calls() -> None:
    with FaultServer(Faults(status_500=1.0)) as broken, FaultServer(Faults(latency=0.05)) as sound:
        async with pool_of(broken.url, sound.url) as pool:
            assert answered(await ask(pool, 200)) == 200
        assert broken.requests < 60, "five in a row open its circuit, then it gets a probe now and then"


async def test_a_dead_member_does_not_stop_a_pool_whose_first_answers_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.5)
    monkeypatch.setattr("gristmill.llm.endpoint.SERVING_SECONDS", 0.3)
    with FaultServer(Faults(latency=2.0)) as slow, FaultServer() as dead:
        dead.down()
        async with pool_of(dead.url, slow.url) as pool:
            assert answered(await ask(pool, 8, workers=8)) == 8


async def test_gone_at_the_start_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    with FaultServer() as server:
        server.down()
        async with pool_of(server.url) as pool:
            results = await ask(pool, 20)
    assert {type(result) for result in results} == {EndpointError} and "can't be reached" in str(results[0])


async def test_a_rate_limit_at_the_start_is_no_lost_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is repeated within the same minute meets the limit of that minute."""
    monkeypatch.setattr(module, "START_SECONDS", 0.3)
    with FaultServer(Faults(status_429=1.0)) as server:
        async with pool_of(server.url, patience=20) as pool:
            asked = asyncio.create_task(ask(pool, 10, workers=10))
            await asyncio.sleep(1.5)
            server.faults = Faults()
            assert answered(await asked) == 10


@pytest.mark.parametrize("gone", ["down", "bad gateway"])
async def test_gone_in_the_middle_is_waited_for_without_failing_a_task(gone: str) -> None:
    """Calls that were out when it went, after others had just been answered, are no poison."""

    class Gateway(FaultServer):
        away = False

        async def _chat(self, asked: web.Request) -> web.StreamResponse:
            return web.Response(status=502) if self.away else await super()._chat(asked)

    with Gateway(Faults(latency=0.05)) as server:
        async with pool_of(server.url, in_flight=2, patience=60) as pool:
            asked = asyncio.create_task(ask(pool, 40, workers=2))
            await until(lambda: server.answered.total() > 8)
            if gone == "down":
                server.down()
            else:
                server.away = True
            await asyncio.sleep(2.5)
            if gone == "down":
                server.up()
            else:
                server.away = False
            results = await asked
    assert answered(results) == 40, [result for result in results if not isinstance(result, dict)]


async def test_a_poisonous_request_fails_alone_also_as_the_last_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(Circuit, "LONGEST_PAUSE", 0.05)

    class Poisoned(FaultServer):
        async def _chat(self, asked: web.Request) -> web.StreamResponse:
            poison = b"question 0" in await asked.read()
            return web.Response(status=500) if poison else await super()._chat(asked)

    with Poisoned() as server:
        async with pool_of(server.url, patience=60) as pool:
            results = await ask(pool, 4, workers=2)
    (failed,) = (result for result in results if not isinstance(result, dict))
    assert isinstance(failed, TaskFailed) and "status 500" in str(failed)


async def test_an_answer_that_always_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try is paid for: it is not repeated without end while the endpoint answers others."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    hung = Counter[str]()

    class Hanging(FaultServer):
        async def _chat(self, asked: web.Request) -> web.StreamResponse:
            if b"question 0" in await asked.read():
                hung["calls"] += 1
                await asyncio.sleep(60)
            return await super()._chat(asked)

    with Hanging(Faults(latency=0.02)) as server:
        async with pool_of(server.url, seconds=0.2, in_flight=4) as pool:
            results = await ask(pool, 400, workers=4)
    assert answered(results) == 399 and hung["calls"] <= 10
    assert any(isinstance(result, TaskFailed) and "no answer in time" in str(result) for result in results)


async def test_ten_percent_of_every_fault_and_all_comes_out() -> None:
    with FaultServer(Faults(status_429=0.05, status_500=0.05, reset=0.02, latency=0.005)) as server:
        async with pool_of(server.url, in_flight=32) as pool:
            assert answered(await ask(pool, 500, workers=64)) == 500
        assert server.requests == 500 + server.met.total() and set(server.answered.values()) == {1}


async def test_slow_answers_hold_up_nobody() -> None:
    """1 % of the answers take twenty times as long: what was asked after them is answered before them."""
    slow_latency = 2.0
    with FaultServer(Faults(slow=0.01, latency=0.02, slow_latency=slow_latency, seed=4)) as server:
        async with pool_of(server.url, in_flight=16) as pool:
            started, ended = time.monotonic(), []

            async def one(number: int) -> None:
                await pool.post("/chat/completions", request(number))
                ended.append(time.monotonic() - started)

            await asyncio.gather(*(one(number) for number in range(200)))
        slow = server.met["slow"]
    assert 1 <= slow <= 6
    assert sum(at < slow_latency for at in ended) >= 200 - slow


# ---- roles that share an endpoint


def test_each_role_keeps_its_own_limit_and_time(tmp_path: Path) -> None:
    """The judge may have two calls out and waits a second; the writer, which asks first, sixteen and an hour."""
    judging, most = 0, 0

    class Watching(FaultServer):
        async def _answered(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
            nonlocal judging, most
            if "response_format" not in asked:
                return await super()._answered(request, asked)
            judging, most = judging + 1, max(most, judging + 1)
            try:
                if "fact 7" in str(asked) and not self.met["hung"]:
                    self.met["hung"] += 1
                    await asyncio.sleep(60)
                return await super()._answered(request, asked)
            finally:
                judging -= 1

    with Watching(Faults(latency=0.02)) as server:
        config = two_calls(tmp_path, server.url, 40, model={"max_in_flight": 16})
        config["models"]["judge"] = {"endpoint": server.url, "model": "m", "max_in_flight": 2, "timeout": 1}
        started = time.monotonic()
        assert run(config, tmp_path / "run")["accepted"] == 40
    assert server.met["hung"] == 1 and time.monotonic() - started < 30
    assert most <= 2 + server.met["hung"], "the one that hangs at the server has been given up here"


# ---- what is a result or an end, not a fault

CASES: list[tuple[int, dict[str, Any], type[Exception], str]] = [
    (400, {"message": "This model's maximum context length is 8192 tokens."}, Reject, "context_length"),
    (400, {"message": "x", "code": "context_length_exceeded"}, Reject, "context_length"),
    (400, {"message": "the request exceeds the available context size"}, Reject, "context_length"),
    (400, {"message": "'max_tokens' or 'max_completion_tokens' is too large; maximum context length is 9"},
     Reject, "context_length"),
    (413, {"message": "too large"}, Reject, "context_length"),
    (400, {"message": "temperature is not supported in this context"}, TaskFailed, "answers 400"),
    (400, {"message": "filtered", "code": "content_filter"}, Reject, "content_filter"),
    (429, {"message": "no money", "code": "insufficient_quota"}, EndpointError, "has no quota left"),
    (402, {"message": "Insufficient Balance"}, EndpointError, "has no quota left"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "kind", "sentence"), CASES)
async def test_what_no_second_try_can_mend(
    status: int, error: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    class Refusing(FaultServer):
        async def _chat(self, asked: web.Request) -> web.StreamResponse:
            self.requests += 1
            return web.json_response({"error": error}, status=status)

    with Refusing() as server:
        async with pool_of(server.url) as pool:
            (result,) = await ask(pool, 1)
        assert isinstance(result, kind) and sentence in str(result) and server.requests == 1


async def test_a_redirect_is_not_followed() -> None:
    with FaultServer() as elsewhere:

        class Redirecting(FaultServer):
            async def _chat(self, asked: web.Request) -> web.StreamResponse:
                raise web.HTTPTemporaryRedirect(elsewhere.url + "/chat/completions")

        with Redirecting() as server:
            async with pool_of(server.url) as pool:
                (result,) = await ask(pool, 1)
        assert "redirects elsewhere" in str(result) and elsewhere.requests == 0
