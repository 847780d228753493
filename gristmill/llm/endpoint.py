"""One OpenAI-compatible endpoint: a thin aiohttp transport with a limit of calls in flight, retries and clear errors.

What is retried: 429, 5xx, lost connections, time-outs and unreadable responses, with full-jitter back-off and
`Retry-After`. What is not: a refused key, an unknown model, a redirect (config errors), a prompt that is too long
(the task's result) and any other 4xx (the task fails).
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gristmill.errors import ConfigError, EndpointError, Reject, TaskFailed

START_SECONDS = 10.0
ATTEMPTS = 8
LONGEST_PAUSE = 30.0
FIRST_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Fault:
    """An attempt that may be repeated: what happened, and how long the server asked to wait (seconds).

    `limited` means that the server was too busy (429): that says nothing against the request, however often it happens.
    """

    what: str
    retry_after: float = 0.0
    limited: bool = False


class Endpoint:
    """`url` is the base, such as http://127.0.0.1:8000/v1; `key_name` the environment variable that holds its key.

    `locate`, where given, finds the base anew after a lost connection: the embedded server may come back elsewhere.
    """

    def __init__(
        self,
        url: str,
        key_name: str | None,
        *,
        in_flight: int,
        timeout: float,
        patience: float,
        locate: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.key_name = key_name
        self._locate = locate
        self.patience = patience
        self.in_flight = 0
        self._slots = asyncio.Semaphore(in_flight)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=START_SECONDS / 2)
        self._session: aiohttp.ClientSession | None = None
        self._reached = False
        self._failing_since: float | None = None
        self._last_success = 0.0
        self._jitter = random.Random()  # spreads retries over time; no result depends on it

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        """The parsed JSON of a successful response.

        Raises EndpointError (unreachable), ConfigError (key, model, redirect), Reject (prompt too long),
        TaskFailed (this request can't be served although the endpoint serves others).
        """
        started = time.monotonic()
        attempt = broken = 0
        while True:
            async with self._slots:
                self.in_flight += 1
                try:
                    result = await self._attempt(path, body)
                finally:
                    self.in_flight -= 1
            if not isinstance(result, Fault):
                self._reached, self._failing_since, self._last_success = True, None, time.monotonic()
                return result
            attempt += 1
            broken += not result.limited
            self._check_patience(result, attempt, broken, started)
            ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
            await asyncio.sleep(max(result.retry_after, self._jitter.uniform(0, ceiling)))

    def _check_patience(self, fault: Fault, attempt: int, broken: int, started: float) -> None:
        """Raises where it makes no sense to try again: this request is at fault, or the endpoint is gone too long."""
        now = time.monotonic()
        if self._last_success > started:
            if broken >= ATTEMPTS:
                raise TaskFailed("llm", f"{self.url}: {fault.what}, {broken} tries, while it answered others")
            return
        self._failing_since = self._failing_since or now
        patience = self.patience if self._reached else START_SECONDS - 1.0
        if now - self._failing_since > patience:
            raise EndpointError(
                f"{self.url} can't be reached: {fault.what}, {attempt} tries in {now - self._failing_since:.0f} s. "
                "Start it or correct `endpoint`, then repeat the command: what was answered is kept."
            )

    async def _attempt(self, path: str, body: bytes) -> dict[str, Any] | Fault:
        try:
            async with self._open_session().post(
                self.url + path, data=body, headers=self._headers(), allow_redirects=False
            ) as response:
                content = await response.read()
                if response.status == 200:
                    return _parse(content)
                return self._refusal(response, content)
        except aiohttp.ClientConnectorError as error:
            if self._locate is not None:
                self.url = await self._locate()
            return Fault(f"no connection ({error.os_error.strerror or error.os_error})")
        except (aiohttp.ClientError, ConnectionError) as error:
            return Fault(f"connection lost ({type(error).__name__})")
        except TimeoutError:
            return Fault("no answer in time")

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes) -> Fault:
        status, said = response.status, _error_message(content)
        if status == 429 or status >= 500 or status == 408:
            return Fault(f"status {status}", _retry_after(response), limited=status == 429)
        if status in (401, 403):
            key = f"the key in ${self.key_name}" if self.key_name else "a request without a key (set `api_key_env`)"
            raise ConfigError(f"{self.url} refuses {key}: status {status}.")
        if 300 <= status < 400:
            raise ConfigError(f"{self.url} redirects elsewhere; put the final address into `endpoint`.")
        if status == 404:
            raise ConfigError(f"{self.url} answers 404: unknown model or wrong address: {self._without_key(said)}")
        if status == 413 or "context" in said.lower():
            raise Reject("llm", "context_length", self._without_key(said))
        raise TaskFailed("llm", f"{self.url} answers {status}: {self._without_key(said)}")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key_name:
            headers["Authorization"] = f"Bearer {os.environ[self.key_name]}"
        return headers

    def _without_key(self, text: str) -> str:
        """Some servers repeat the key in their error messages; ours never do."""
        key = os.environ.get(self.key_name or "", "")
        return text.replace(key, f"${self.key_name}") if key else text

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _parse(content: bytes) -> dict[str, Any] | Fault:
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Fault("a response that is not JSON")
    return parsed if isinstance(parsed, dict) else Fault("a response that is no JSON object")


def _error_message(content: bytes) -> str:
    """What the server says went wrong, at most 300 characters of it."""
    try:
        error = orjson.loads(content)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = content.decode(errors="replace")
    return " ".join(str(message).split())[:300]


def _retry_after(response: aiohttp.ClientResponse) -> float:
    try:
        return min(float(response.headers.get("Retry-After", 0)), 600.0)
    except ValueError:  # the header's other form, a date, is rare: the back-off serves as well
        return 0.0
