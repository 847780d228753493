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

from gristmill.errors import EndpointError, TaskFailed
from gristmill.llm.endpoint import Endpoint, Fault
from schemas import JsonObject

START_SECONDS = 9.0
"""How long an endpoint that never answered is tried: a command that can't work says so within ten seconds."""
ATTEMPTS = 8
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
OPEN_POLL = 0.1


class Pool:
    """`patience` (seconds) is how long a pool that has worked may be gone before the run stops."""

    def __init__(self, endpoints: list[Endpoint], patience: float) -> None:
        self.endpoints = endpoints
        self.patience = patience
        self._failing_since: float | None = None
        self._trouble = ""

    async def post(self, path: str, request: JsonObject, stream: bool = False) -> dict[str, Any]:
        """The parsed JSON of a successful response.

        Raises EndpointError (unreachable), ConfigError (key, model, redirect), Reject (prompt too long or filtered),
        TaskFailed (this request can't be served although the endpoint serves others).
        """
        started = time.monotonic()
        attempt = broken = 0
        while True:
            endpoint = await self._choose()
            result = await self._attempt(endpoint, path, request, stream)
            if not isinstance(result, Fault):
                return result
            if result.kind == "form":
                continue
            attempt += 1
            broken += result.kind != "busy"
            self._check_patience(endpoint, result, broken, started)
            if result.kind == "lost" and self._has_another(endpoint):
                continue
            ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
            await asyncio.sleep(max(result.retry_after, random.uniform(0, ceiling)))

    async def _choose(self) -> Endpoint:
        """The endpoint with the smallest share of its places taken; while all are gone, one that may be probed."""
        if len(self.endpoints) == 1 and not self.endpoints[0].circuit.is_open:
            return self.endpoints[0]
        while True:
            there = [endpoint for endpoint in self.endpoints if endpoint.circuit.admits()]
            if there:
                return min(there, key=lambda endpoint: endpoint.limit.in_flight / endpoint.limit.allowed)
            self._check_gone()
            await asyncio.sleep(OPEN_POLL)

    async def _attempt(
        self, endpoint: Endpoint, path: str, request: JsonObject, stream: bool
    ) -> dict[str, Any] | Fault:
        async with endpoint.limit:
            endpoint.circuit.enter()
            try:
                result = await endpoint.attempt(path, request, stream)
            except BaseException:
                endpoint.circuit.left()
                raise
        fault = result if isinstance(result, Fault) else None
        if fault is None:
            endpoint.reached, endpoint.last_success, self._failing_since = True, time.monotonic(), None
        if fault is not None and fault.kind in ("lost", "broken"):
            endpoint.circuit.failed()
        else:
            endpoint.circuit.close()
            endpoint.limit.saw(fault is not None and fault.kind == "busy", fault.retry_after if fault else 0.0)
        return result

    def _has_another(self, endpoint: Endpoint) -> bool:
        return any(other is not endpoint and other.circuit.admits() for other in self.endpoints)

    def _check_patience(self, endpoint: Endpoint, fault: Fault, broken: int, started: float) -> None:
        """Raises where it makes no sense to try again: this request is at fault, or all endpoints are gone too long."""
        if max(other.last_success for other in self.endpoints) > started:
            if broken >= ATTEMPTS and endpoint.last_success > started:
                raise TaskFailed("llm", f"{endpoint.url}: {fault.what}, {broken} tries, while it answered others")
            return
        self._failing_since = self._failing_since or time.monotonic()
        self._trouble = f"{endpoint.url} can't be reached: {fault.what}"
        self._check_gone()

    def _check_gone(self) -> None:
        if self._failing_since is None:
            return
        patience = self.patience if any(endpoint.reached for endpoint in self.endpoints) else START_SECONDS
        gone = time.monotonic() - self._failing_since
        if gone > patience:
            raise EndpointError(
                f"{self._trouble}, tried for {gone:.0f} s. Start it or correct `endpoint`, then repeat the command: "
                "what was answered is kept."
            )
