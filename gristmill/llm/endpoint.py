"""One OpenAI-compatible endpoint: a thin aiohttp transport that makes one attempt at a time and says what came of it.

An attempt gives the response's JSON, or a `Fault` that is worth another try (429, 5xx, a lost connection, a time-out,
an unreadable response); `gristmill.llm.pool` decides about that. What no second try can mend is raised: a refused key,
an unknown model, a redirect (config errors), a used-up quota, a prompt that is too long or refused (the task's result)
and any other 4xx (the task fails).
"""

import math
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson
from aiohttp.http_exceptions import LineTooLong

from gristmill.errors import ConfigError, EndpointError, Reject, TaskFailed
from gristmill.llm.forms import Forms, Sent
from gristmill.llm.limits import Circuit, Limit
from gristmill.llm.stream import StreamBroken, read_stream
from schemas import JsonObject

CONNECT_SECONDS = 5.0
SERVING_SECONDS = 6.0
"""An attempt that is this old has its connection."""
LONGEST_RETRY_AFTER = 600.0
LONGEST_LINE = 2**20  # of a stream, in bytes
LONGEST_MESSAGE = 300  # of a server, in characters
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|maximum model length|prompt is too long|longer than the maximum|too many tokens",
    re.IGNORECASE,
)
"""How servers say that a prompt doesn't fit (OpenAI, vLLM, SGLang, llama.cpp and others)."""
_NO_TOOLS = re.compile(
    r"tool.*(not|n't) support|support.* tool|enable-auto-tool-choice|requires --jinja", re.IGNORECASE
)
"""How they say that they know no tool calls (Ollama, vLLM, llama.cpp)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An attempt that may be repeated: what happened, and how long the server asked to wait (seconds).

    busy    the server has too much to do (429, 503): says nothing against the request, however often it comes
    slow    no answer within the role's time-outs
    broken  the server met an error of its own (5xx, an unreadable response)
    lost    the connection
    form    it doesn't take the request in this form; the next attempt uses another one
    """

    what: str
    kind: Literal["busy", "slow", "broken", "lost", "form"]
    retry_after: float = 0.0


class Timeouts:
    """Of a role: `whole` seconds for an attempt, `idle` for the silence within a streamed one."""

    def __init__(self, whole: float = 3600.0, idle: float = 120.0) -> None:
        self.plain = aiohttp.ClientTimeout(total=whole, sock_connect=CONNECT_SECONDS)
        self.streamed = aiohttp.ClientTimeout(total=whole, sock_connect=CONNECT_SECONDS, sock_read=idle)


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
        locate: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.key_name = key_name
        self.limit = Limit(in_flight)
        self.circuit = Circuit()
        self.forms = Forms()
        self.reached = False
        self.last_success = 0.0
        self._begun: dict[object, float] = {}
        self._locate = locate
        self._session: aiohttp.ClientSession | None = None

    async def attempt(self, path: str, request: JsonObject, stream: bool, timeouts: Timeouts) -> dict[str, Any] | Fault:
        """The parsed JSON of a successful response, or what went wrong with this attempt."""
        attempt = object()
        self._begun[attempt] = time.monotonic()
        try:
            return await self._attempt(path, request, stream, timeouts)
        finally:
            del self._begun[attempt]

    def is_serving(self) -> bool:
        """Whether a call is out that has its connection, so that an answer may still come."""
        return time.monotonic() - min(self._begun.values(), default=math.inf) > SERVING_SECONDS

    async def is_there(self) -> bool:
        """Whether it answers the simplest question, its models: then what fails is another request, not the endpoint.
        A gateway whose server is gone answers with a 5xx."""
        timeout = aiohttp.ClientTimeout(total=CONNECT_SECONDS)
        try:
            async with self._open_session().get(
                self.url + "/models", timeout=timeout, allow_redirects=False
            ) as response:
                return response.status < 500
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _attempt(
        self, path: str, request: JsonObject, stream: bool, timeouts: Timeouts
    ) -> dict[str, Any] | Fault:
        sent = self.forms.as_sent(request, stream)
        body = orjson.dumps(sent.body)  # in its own order, in which a model writes the fields of its answer
        timeout = timeouts.streamed if stream else timeouts.plain
        result: dict[str, Any] | Fault
        try:
            async with self._open_session().post(
                self.url + path, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    return self._refusal(response, await response.read(), request, sent)
                if response.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
                    result = await read_stream(response.content, len(body))
                else:
                    result = _parse(await response.read())
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", "") or "not its own"
            raise ConfigError(
                f"{self.url}: its certificate can't be trusted ({why}). If it is signed by an authority of your own, "
                "name that one's file in $SSL_CERT_FILE."
            ) from None
        except aiohttp.ClientConnectorError as error:
            if getattr(error.os_error, "reason", "") == "WRONG_VERSION_NUMBER":
                raise ConfigError(f"{self.url} doesn't speak https; if it speaks http, say so in `endpoint`.") from None
            if self._locate is not None:
                self.url = await self._locate()
            number = error.os_error.errno
            return Fault(f"no connection ({os.strerror(number).lower() if number else error.os_error})", "lost")
        except aiohttp.ConnectionTimeoutError:
            return Fault("no connection in time", "lost")
        except TimeoutError:
            return Fault("no answer in time", "slow")
        except LineTooLong:
            return Fault("a stream with an endless line", "broken")
        except (aiohttp.ClientError, ConnectionError) as error:
            return Fault(f"connection lost ({type(error).__name__})", "lost")
        except StreamBroken as error:
            return Fault(self._without_key(str(error))[:LONGEST_MESSAGE], "broken")
        if "response_format" in request and not isinstance(result, Fault):
            self.forms.saw(request, sent, result)
        return result

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes, request: JsonObject, sent: Sent) -> Fault:
        status, said, code = response.status, *_error(content)
        said = self._without_key(said)[:LONGEST_MESSAGE]  # in this order: half a key is a secret too
        self.reached |= status == 429
        if code == "insufficient_quota" or status == 402:
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
        if status == 413 or code == "context_length_exceeded" or _TOO_LONG.search(said):
            raise Reject("llm", "context_length", said)
        if "content_filter" in code or "content management policy" in said:
            raise Reject("llm", "content_filter", said)
        if self.forms.refused(request, sent, said):
            return Fault(f"status {status}: {said}", "form")
        if "tools" in request and _NO_TOOLS.search(said):
            raise ConfigError(f"{self.url} takes no tools ({said}); set `tool_calls: text` in this role of `models`.")
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
    """What the server says went wrong, and its code for that ("" where it has none)."""
    code = ""
    try:
        error = orjson.loads(content)["error"]
        message = error["message"] if isinstance(error, dict) else error
        code = str(error.get("code") or "") if isinstance(error, dict) else ""
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = content.decode(errors="replace")
    return " ".join(str(message).split()), code


def _retry_after(response: aiohttp.ClientResponse) -> float:
    try:
        seconds = float(response.headers.get("Retry-After", 0))
    except ValueError:  # the header's other form, a date, is rare: the back-off serves as well
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else 0.0
