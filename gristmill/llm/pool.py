"""The endpoints of a role as one: a call goes to the least busy one that is there, and is repeated where that helps.

Retried are 429, 5xx, lost connections, time-outs and unreadable responses, the first call of a run too, with
full-jitter back-off (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). A `Retry-After` delays
the call that got it; the endpoint itself rests only when its limit falls (see `gristmill.llm.limits`). An endpoint
whose connections are lost is left alone for a while, and the others take over.
"""

import asyncio
import random
import time
from typing import Any

from gristmill.errors import EndpointError, Reject, TaskFailed
from gristmill.llm.endpoint import Endpoint, Fault, Timeouts
from schemas import JsonObject

START_SECONDS = 9.0
"""How long an endpoint that never answered is tried: a command that can't work says so within ten seconds."""
ATTEMPTS = 8
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
LONGEST_PAUSE_AT_START = 0.5
OPEN_POLL = 0.1


class Pool:
    """`patience` (seconds) is how long a pool that has worked may be gone before the run stops.

    `in_flight` is how many calls of this role may be out at once at each endpoint, on average: other roles that share
    the endpoints may have more.
    """

    def __init__(
        self, endpoints: list[Endpoint], patience: float, in_flight: int, timeouts: Timeouts | None = None
    ) -> None:
        self.endpoints = endpoints
        self.patience = patience
        self.timeouts = timeouts or Timeouts()
        self._places = asyncio.Semaphore(in_flight * len(endpoints))
        self._failing_since: float | None = None
        self._trouble = ""
        self.resting = 0

    async def post(self, path: str, request: JsonObject, stream: bool = False) -> dict[str, Any]:
        """The parsed JSON of a successful response.

        Raises EndpointError (unreachable), ConfigError (key, model, redirect), Reject (prompt too long or filtered),
        TaskFailed (this request can't be served although the endpoint serves others).
        """
        started = failed_at = time.monotonic()
        attempt = own = 0
        while True:
            async with self._places:
                endpoint = await self._choose()
                result = await self._attempt(endpoint, path, request, stream)
            if result is None or (isinstance(result, Fault) and result.kind == "form"):
                continue
            if not isinstance(result, Fault):
                return result
            attempt += 1
            if result.kind != "busy" and endpoint.last_success > failed_at:
                own += 1
            failed_at = time.monotonic()
            await self._give_up_where_useless(endpoint, result, own, attempt, started)
            if result.kind == "lost" and self._has_another(endpoint):
                continue
            self.resting += 1
            try:
                longest = LONGEST_PAUSE if self._has_worked() else LONGEST_PAUSE_AT_START
                await asyncio.sleep(_pause(result.retry_after, attempt, longest))
            finally:
                self.resting -= 1

    async def _choose(self) -> Endpoint:
        """The endpoint with the smallest share of its places taken; while all are gone, one that may be probed."""
        if len(self.endpoints) == 1 and not self.endpoints[0].circuit.is_open:
            return self.endpoints[0]
        while True:
            there = [endpoint for endpoint in self.endpoints if endpoint.circuit.admits()]
            if there:
                return min(there, key=lambda endpoint: endpoint.limit.load)
            self._check_gone()
            await asyncio.sleep(OPEN_POLL)

    async def _attempt(
        self, endpoint: Endpoint, path: str, request: JsonObject, stream: bool
    ) -> dict[str, Any] | Fault | None:
        """What came of one attempt; None where the endpoint went away while the call waited for its place."""
        async with endpoint.limit:
            if not endpoint.circuit.admits():
                return None
            probe = endpoint.circuit.enter()
            try:
                result = await endpoint.attempt(path, request, stream, self.timeouts)
            except (Reject, TaskFailed):  # an answer too
                self._saw_success(endpoint)
                raise
            except BaseException:
                endpoint.circuit.left(probe)
                raise
        if not isinstance(result, Fault):
            self._saw_success(endpoint)
            endpoint.limit.saw(strained=False)
        elif result.kind in ("lost", "broken"):
            endpoint.circuit.failed(probe)
        elif result.kind == "form":
            endpoint.circuit.close()
        else:
            endpoint.circuit.left(probe)
            endpoint.limit.saw(strained=True, rest=result.retry_after)
        return result

    def _saw_success(self, endpoint: Endpoint) -> None:
        endpoint.circuit.close()
        endpoint.reached, endpoint.last_success, self._failing_since = True, time.monotonic(), None

    def _has_another(self, endpoint: Endpoint) -> bool:
        return any(other is not endpoint and other.circuit.admits() for other in self.endpoints)

    async def _give_up_where_useless(
        self, endpoint: Endpoint, fault: Fault, own: int, attempts: int, started: float
    ) -> None:
        """Raises where it makes no sense to try again: this request is at fault, or all endpoints are gone too long.

        `own` counts the failures before each of which the endpoint answered another call. Where there are no others
        (the last task of a run), an endpoint that answered since this call `started` is asked whether it is there.
        """
        alone = fault.kind == "broken" and attempts >= ATTEMPTS and endpoint.last_success > started
        if own >= ATTEMPTS or (alone and await endpoint.is_there()):
            raise TaskFailed("llm", f"{endpoint.url}: {fault.what}, {attempts} tries, while it answered others")
        self._failing_since = self._failing_since or time.monotonic()
        self._trouble = f"{endpoint.url} can't be reached: {fault.what}"
        self._check_gone()

    def _has_worked(self) -> bool:
        return any(endpoint.reached for endpoint in self.endpoints)

    def _check_gone(self) -> None:
        if self._failing_since is None:
            return
        patience = self.patience if self._has_worked() else START_SECONDS
        gone = time.monotonic() - self._failing_since
        if gone > patience and not any(endpoint.is_serving() for endpoint in self.endpoints):
            raise EndpointError(
                f"{self._trouble}, tried for {gone:.0f} s. Start it or correct `endpoint`, then repeat the command: "
                "what was answered is kept."
            )


def _pause(retry_after: float, attempt: int, longest: float) -> float:
    """Seconds until the next try: what the server asked for, a little spread out, else full jitter."""
    if retry_after:
        return retry_after * random.uniform(1.0, 1.05)
    return random.uniform(0, min(longest, FIRST_PAUSE * 2**attempt))
