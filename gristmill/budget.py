"""The meter of a run: what was called and paid, and the budget that no call may exceed."""

import asyncio
from collections import defaultdict
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
    """Counts calls, tokens and USD of this session, on top of what earlier sessions `spent`: USD and tokens by (role,
    stage).

    With a budget, each call reserves a careful estimate first. A call that doesn't fit waits for the calls in flight to
    return what they reserved too much; when none is in flight and it still doesn't fit, the run stops.

    Without `max_tokens` the estimate is twice the longest answer of the role so far. Its first call goes out alone: by
    a guess, all places might be filled with answers of 30k tokens before the first of them tells how long they are.
    """

    def __init__(self, budget: Budget, spent: dict[tuple[str, str], tuple[float, int]] | None = None) -> None:
        self.budget = budget
        self.usd_by: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.usd, self.tokens = 0.0, 0
        for by, (usd, tokens) in (spent or {}).items():
            self.usd_by[by] = usd
            self.usd += usd
            self.tokens += tokens
        self.calls = 0
        self.calls_reused = 0
        self.in_flight = 0
        self._unlimited = budget.usd is None and budget.tokens is None
        self._reserved = Estimate()
        self._largest_output: dict[str, int] = {}
        self._scouts: set[str] = set()
        self._changed = asyncio.Event()
        self._stopped = False

    async def reserve(self, role: Role, request_bytes: int, request: JsonObject) -> Estimate:
        """Before a call: room for it in the budget, which `release` gives back. BudgetReached where there is none.

        The estimate is taken anew after each wait: it gets better with every call that returns.
        """
        if self._unlimited:
            self.in_flight += 1
            return Estimate()
        while True:
            estimate = self._estimate(role, request_bytes, request)
            fits = self._fits(estimate) and not self._stopped
            if fits and not self._is_scouted(role, request):
                break
            if not fits and self.in_flight == 0:
                self._stopped = True  # a smaller call that would still fit must not start while the run ends
                raise BudgetReached(
                    f"the budget is used up: {self.usd:.4f} USD and {self.tokens:,} tokens are spent, and the next "
                    "call may exceed it. Raise `budget` and repeat the command to go on."
                )
            self._changed.clear()
            await self._changed.wait()
        if self._longest_output(role, request) is None:
            self._scouts.add(role.name)
        self._reserved.usd += estimate.usd
        self._reserved.tokens += estimate.tokens
        self.in_flight += 1
        return estimate

    def pay(self, role: Role, stage: str, usage: Usage) -> None:
        """For what a call really used."""
        usd = role.cost(usage)
        self.calls += 1
        self.usd += usd
        self.usd_by[role.name, stage] += usd
        self.tokens += usage.input + usage.output
        if not self._unlimited:
            self._largest_output[role.name] = max(self._largest_output.get(role.name, 0), usage.output)

    def release(self, role: Role, estimate: Estimate) -> None:
        """After a call, however it ended."""
        self.in_flight -= 1
        self._scouts.discard(role.name)
        self._reserved.usd -= estimate.usd
        self._reserved.tokens -= estimate.tokens
        self._changed.set()

    def _is_scouted(self, role: Role, request: JsonObject) -> bool:
        """Whether another call is finding out how long this role's answers are."""
        return role.name in self._scouts and self._longest_output(role, request) is None

    def _longest_output(self, role: Role, request: JsonObject) -> int | None:
        """Tokens that the answer may have, None where nothing tells."""
        asked = request.get("max_tokens")
        if isinstance(asked, int):
            return asked
        largest = self._largest_output.get(role.name)
        return None if largest is None else 2 * largest

    def _estimate(self, role: Role, request_bytes: int, request: JsonObject) -> Estimate:
        output = self._longest_output(role, request) or UNKNOWN_OUTPUT
        usage = Usage(input=request_bytes // CHARACTERS_PER_TOKEN, output=output)
        return Estimate(role.cost(usage), usage.input + usage.output)

    def _fits(self, estimate: Estimate) -> bool:
        budget = self.budget
        if budget.usd is not None and self.usd + self._reserved.usd + estimate.usd > budget.usd:
            return False
        return budget.tokens is None or self.tokens + self._reserved.tokens + estimate.tokens <= budget.tokens
