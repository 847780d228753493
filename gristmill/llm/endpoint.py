"""One OpenAI-compatible endpoint: a thin aiohttp transport that makes one attempt at a time and says what came of it.

An attempt gives the response's JSON, or a `Fault` that is worth another try (429, 5xx, a lost connection, a time-out,
an unreadable response); `gristmill.llm.pool` decides about that. What no second try can mend is raised: a refused key,
an unknown model, a redirect (config errors), a used-up quota, a prompt that is too long or refused (the task's result)
and any other 4xx (the task fails).
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from gristmill.errors import ConfigError, EndpointError, Reject, TaskFailed
from gristmill.llm.forms import Forms
from gristmill.llm.limits import Circuit, Limit
from gristmill.llm.stream import StreamBroken, read_stream
from schemas import JsonObject, canonical_json

CONNECT_SECONDS = 5.0
LONGEST_RETRY_AFTER = 600.0
LONGEST_LINE = 2**20  # of a stream, in bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """An attempt that may be repeated: what happened, and how long the server asked to wait (seconds).

    busy    the server has too much to do (429, 503, time-out): says nothing against the request, however often it comes
    broken  the server met an error of its own (5xx, an unreadable response)
    lost    the connection
    form    it doesn't take the request in this form; the next attempt uses another one
    """

    what: str
    kind: Literal["busy", "broken", "lost", "form"]
    retry_after: float = 0.0


class Endpoint:
    """`url` is the base, such as http://127.0.0.1:8000/v1; `key_name` the environment variable that holds its key.

    `timeout` (seconds) bounds a whole attempt, `idle_timeout` the silence within a streamed one. `locate`, where given,
    finds the base anew after a lost connection: the embedded server may come back elsewhere.
    """

    def __init__(
        self,
        url: str,
        key_name: str | None,
        *,
        in_flight: int,
        timeout: float,
        idle_timeout: float = 120.0,
        locate: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.key_name = key_name
        self.limit = Limit(in_flight)
        self.circuit = Circuit()
        self.forms = Forms()
        self.reached = False
        self.last_success = 0.0
        self._locate = locate
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
        self._stream_timeout = aiohttp.ClientTimeout(
            total=timeout, sock_connect=CONNECT_SECONDS, sock_read=idle_timeout
        )
        self._session: aiohttp.ClientSession | None = None

    async def attempt(self, path: str, request: JsonObject, stream: bool) -> dict[str, Any] | Fault:
        """The parsed JSON of a successful response, or what went wrong with this attempt."""
        body = canonical_json(self.forms.as_sent(request, stream))
        timeout = self._stream_timeout if stream else self._timeout
        result: dict[str, Any] | Fault
        try:
            async with self._open_session().post(
                self.url + path, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    return self._refusal(response, await response.read(), request)
                if response.content_type == "text/event-stream":
                    result = await read_stream(response.content, len(body))
                else:
                    result = _parse(await response.read())
        except aiohttp.ClientConnectorError as error:
            if self._locate is not None:
                self.url = await self._locate()
            return Fault(f"no connection ({error.os_error.strerror or error.os_error})", "lost")
        except aiohttp.ConnectionTimeoutError:
            return Fault("no connection in time", "lost")
        except TimeoutError:
            return Fault("no answer in time", "busy")
        except (aiohttp.ClientError, ConnectionError) as error:
            return Fault(f"connection lost ({type(error).__name__})", "lost")
        except StreamBroken as error:
            return Fault(str(error), "broken")
        if "response_format" in request and not isinstance(result, Fault):
            self.forms.saw(request, result)
        return result

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes, request: JsonObject) -> Fault:
        status, said, code = response.status, *_error(content)
        said = self._without_key(said)
        if code == "insufficient_quota":
            raise EndpointError(f"{self.url} has no quota left: {said}. Top it up, then repeat the command.")
        if "too large to process" in said:  # llama.cpp says so with status 500
            raise Reject("llm", "context_length", said)
        if status in (429, 503):
            return Fault(f"status {status}", "busy", _retry_after(response))
        if status >= 500 or status == 408:
            return Fault(f"status {status}", "broken", _retry_after(response))
        if status in (401, 403):
            key = f"the key in ${self.key_name}" if self.key_name else "a request without a key (set `api_key_env`)"
            raise ConfigError(f"{self.url} refuses {key}: status {status}.")
        if 300 <= status < 400:
            raise ConfigError(f"{self.url} redirects elsewhere; put the final address into `endpoint`.")
        if status == 404:
            raise ConfigError(f"{self.url} answers 404: unknown model or wrong address: {said}")
        if status == 413 or "context" in said.lower():
            raise Reject("llm", "context_length", said)
        if "content_filter" in code or "content management policy" in said:
            raise Reject("llm", "content_filter", said)
        if self.forms.refused(request, said):
            return Fault(f"status {status}: {said}", "form")
        raise TaskFailed("llm", f"{self.url} answers {status}: {said}")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers(),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=LONGEST_LINE,
            )
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
        return Fault("a response that is not JSON", "broken")
    return parsed if isinstance(parsed, dict) else Fault("a response that is no JSON object", "broken")


def _error(content: bytes) -> tuple[str, str]:
    """What the server says went wrong, at most 300 characters of it, and its code for that ("" where it has none)."""
    code = ""
    try:
        error = orjson.loads(content)["error"]
        message = error["message"] if isinstance(error, dict) else error
        code = str(error.get("code") or "") if isinstance(error, dict) else ""
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = content.decode(errors="replace")
    return " ".join(str(message).split())[:300], code


def _retry_after(response: aiohttp.ClientResponse) -> float:
    try:
        return min(float(response.headers.get("Retry-After", 0)), LONGEST_RETRY_AFTER)
    except ValueError:  # the header's other form, a date, is rare: the back-off serves as well
        return 0.0
