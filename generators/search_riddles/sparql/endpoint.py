"""One SPARQL query, one list of rows: `[{"e": "http://www.wikidata.org/entity/Q90", "n": "254"}, ...]`.

`ask` sends a query once. `Public` is polite to a service of others: it says who asks, sends one query at a time, waits
as long as it is told to, and has every answer in the run's ledger. A query that the service can't answer in time is
data (QueryFailed); a service that can't be reached ends the run (EndpointError).

Source: SPARQL 1.1 Query Results JSON Format (https://www.w3.org/TR/sparql11-results-json/); Wikidata Query Service,
user manual (https://www.mediawiki.org/wiki/Wikidata_Query_Service/User_Manual): 60 s per query, Retry-After with 429.
"""

import asyncio
import email.utils
import http.client
import time
import urllib.error
from typing import Protocol

import orjson

from gristmill import Context
from gristmill.errors import EndpointError, GristmillError
from schemas import Json

Row = dict[str, str]
WIKIDATA = "https://query.wikidata.org/sparql"
_TRIES = 4
_LONGEST_PAUSE = 120.0


class QueryFailed(Exception):
    """A query that the service can't answer: `reason` is `timeout` or `refused`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Busy(Exception):
    """The service may answer later: in `pause` seconds, where it says when."""

    def __init__(self, detail: str, pause: float | None = None) -> None:
        super().__init__(detail)
        self.pause = pause


class Unreachable(Busy):
    """Nobody answers, or the line broke."""


class Endpoint(Protocol):
    """Where queries go."""

    async def select(self, query: str) -> list[Row]: ...


def ask(url: str, query: str, seconds: float, agent: str) -> list[Row]:
    """The rows of a SELECT. QueryFailed and Busy as above; blocking."""
    from SPARQLWrapper import JSON, POST, SPARQLWrapper
    from SPARQLWrapper.SPARQLExceptions import EndPointInternalError, EndPointNotFound, QueryBadFormed, Unauthorized

    request = SPARQLWrapper(url, agent=agent)
    request.setReturnFormat(JSON)
    request.setMethod(POST)
    request.setTimeout(max(1, round(seconds)))
    request.setQuery(query)
    try:
        answer = request.query().response.read()
    except QueryBadFormed as error:
        raise QueryFailed("refused", _first_line(error)) from None
    except EndPointInternalError as error:
        if "timeout" in str(error).lower():
            raise QueryFailed("timeout", "the service gave up") from None
        raise Busy(f"status 500: {_first_line(error)}") from None
    except (EndPointNotFound, Unauthorized) as error:
        raise GristmillError(f"{url} is no SPARQL endpoint that may be asked: {_first_line(error)}.") from None
    except urllib.error.HTTPError as error:
        if error.code == 504:
            raise QueryFailed("timeout", "status 504") from None
        raise Busy(f"status {error.code}", _retry_after(error.headers.get("Retry-After"))) from None
    except TimeoutError:
        raise QueryFailed("timeout", f"no answer in {seconds:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, TimeoutError):
            raise QueryFailed("timeout", f"no answer in {seconds:g} s") from None
        raise Unreachable(f"no connection: {error}") from None
    return rows_of(answer)


def rows_of(answer: bytes) -> list[Row]:
    """The rows of a result in JSON; Busy where it is none, such as an error page in HTML or half of a result."""
    try:
        bindings = orjson.loads(answer)["results"]["bindings"]
        return [{name: bound["value"] for name, bound in row.items()} for row in bindings]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise Busy(f"no SPARQL result, but {answer[:60].decode(errors='replace')!r}") from None


def _first_line(error: Exception) -> str:
    text = str(error).replace("\\n", "\n")
    return next((line.strip() for line in text.splitlines() if "Response" not in line and line.strip()), text)[:200]


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number of them or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


class Public:
    """A service of others. `pause` is the first wait after a refusal that names none; it doubles."""

    def __init__(
        self, ctx: Context, url: str, contact: str, in_flight: int = 1, seconds: float = 60.0, pause: float = 2.0
    ) -> None:
        self._ctx, self._url, self._seconds, self._pause = ctx, url, seconds, pause
        self._agent = f"Gristmill/0.1 ({contact}) SPARQLWrapper"
        self._turn = asyncio.Semaphore(in_flight)

    async def select(self, query: str) -> list[Row]:
        answer = await self._ctx.effect("sparql", {"url": self._url, "query": query}, lambda: self._asked(query))
        assert isinstance(answer, dict)
        if "failed" in answer:
            raise QueryFailed(str(answer["failed"]), str(answer["detail"]))
        rows = answer["rows"]
        assert isinstance(rows, list)
        return [{name: str(value) for name, value in row.items()} for row in rows if isinstance(row, dict)]

    async def _asked(self, query: str) -> Json:
        said = ""
        async with self._turn:
            for attempt in range(_TRIES):
                try:
                    return {"rows": [*await asyncio.to_thread(ask, self._url, query, self._seconds, self._agent)]}
                except QueryFailed as failed:
                    return {"failed": failed.reason, "detail": str(failed)}
                except Busy as busy:
                    said = str(busy)
                    wait = self._pause * 2**attempt if busy.pause is None else busy.pause
                    if attempt + 1 < _TRIES:
                        await asyncio.sleep(min(wait, _LONGEST_PAUSE))
        raise EndpointError(f"{self._url} can't be asked: {said}, {_TRIES} times. Try later, or another `endpoint`.")
