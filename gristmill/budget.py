"""The meter of a run: what was called and paid, and the budget that no call may exceed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gristmill.errors import BudgetReached
from gristmill.llm import Role
from schemas import JsonObject, Usage
from schemas.run_config import Budget

CHARACTERS_PER_TOKEN = 3  # on the careful side for English and code
UNKNOWN_OUTPUT = 1024


@dataclass(slots=True)
class Estimate:
    usd: float = 0.0
    tokens: int = 0


class Meter:
    """Counts calls, tokens and USD of this session, on top of what earlier sessions `spent` (USD, tokens).

    With a budget, each call reserves a careful estimate first. A call that doesn't fit waits for the calls in flight to
    return what they reserved too much; when none is in flight and it still doesn't fit, the run stops.
    """

    def __init__(self, budget: Budget, spent: tuple[float, int]) -> None:
        self.budget = budget
        self.usd, self.tokens = spent
        self.calls = 0
        self.calls_reused = 0
        self.in_flight = 0
        self._reserved = Estimate()
        self._largest_output: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._stopped = False

    def reused(self, role: str) -> None:
        self.calls_reused += 1

    @asynccontextmanager
    async def paying(
        self, role: Role, request_bytes: int, request: JsonObject
    ) -> AsyncIterator[Callable[[Usage], None]]:
        """Around one call: reserves its estimate, then counts what it really used."""
        estimate = await self._reserve(role, request_bytes, request)
        self.in_flight += 1

        def paid(usage: Usage) -> None:
            self.calls += 1
            self.usd += role.cost(usage)
            self.tokens += usage.input + usage.output
            self._largest_output[role.name] = max(self._largest_output.get(role.name, 0), usage.output)

        try:
            yield paid
        finally:
            self.in_flight -= 1
            self._reserved.usd -= estimate.usd
            self._reserved.tokens -= estimate.tokens
            self._changed.set()

    def _estimate(self, role: Role, request_bytes: int, request: JsonObject) -> Estimate:
        if self.budget.usd is None and self.budget.tokens is None:
            return Estimate()
        asked = request.get("max_tokens")
        output = asked if isinstance(asked, int) else self._largest_output.get(role.name, UNKNOWN_OUTPUT)
        usage = Usage(input=request_bytes // CHARACTERS_PER_TOKEN, output=output)
        return Estimate(role.cost(usage), usage.input + usage.output)

    async def _reserve(self, role: Role, request_bytes: int, request: JsonObject) -> Estimate:
        """The estimate, taken anew after each wait: it gets better with every call that returns."""
        while not self._fits(estimate := self._estimate(role, request_bytes, request)) or self._stopped:
            if self.in_flight == 0:
                self._stopped = True  # a smaller call that would still fit must not start while the run ends
                raise BudgetReached(
                    f"the budget is used up: {self.usd:.4f} USD and {self.tokens:,} tokens are spent, and the next "
                    "call may exceed it. Raise `budget` and repeat the command to go on."
                )
            self._changed.clear()
            await self._changed.wait()
        self._reserved.usd += estimate.usd
        self._reserved.tokens += estimate.tokens
        return estimate

    def _fits(self, estimate: Estimate) -> bool:
        budget = self.budget
        if budget.usd is not None and self.usd + self._reserved.usd + estimate.usd > budget.usd:
            return False
        return budget.tokens is None or self.tokens + self._reserved.tokens + estimate.tokens <= budget.tokens
