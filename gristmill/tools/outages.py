"""Tools that fail now and then, so that recovery is learnt: an environment around another one.

    {"error": {"type": "timeout", "message": "book_table did not answer within 30 seconds; nothing was changed"}}

A call that fails is not carried out. The same tool doesn't fail more than `in_a_row` times in succession, so trying
again is always worth it.
"""

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from gristmill.context import Context
from gristmill.tools.simulation import Environment
from schemas import Config, Tool, ToolCall, canonical_json

Outage = Literal["timeout", "unavailable", "rate_limit", "internal"]

_MESSAGES: dict[Outage, str] = {
    "timeout": "{name} did not answer within 30 seconds; nothing was changed",
    "unavailable": "the service behind {name} is restarting; nothing was changed, try again",
    "rate_limit": "too many requests to {name}; nothing was changed, try again in a moment",
    "internal": "{name} failed for a reason of its own; nothing was changed",
}


class Outages(Config):
    """The `share` of calls that fail, in one of these ways."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    kinds: Annotated[list[Outage], Field(min_length=1)] = ["timeout", "unavailable", "rate_limit", "internal"]
    in_a_row: Annotated[int, Field(ge=1)] = 1


class Unreliable:
    """An environment whose tools fail as `outages` says; `failed` lists the names of those that did."""

    def __init__(self, inner: Environment, outages: Outages) -> None:
        self.failed: list[str] = []
        self._inner = inner
        self._outages = outages
        self._in_a_row: Counter[str] = Counter()

    @property
    def tools(self) -> list[Tool]:
        return self._inner.tools

    async def call(self, call: ToolCall, ctx: Context) -> str:
        name = call.function.name
        fails = ctx.rng.random() < self._outages.share and self._in_a_row[name] < self._outages.in_a_row
        self._in_a_row[name] = self._in_a_row[name] + 1 if fails else 0
        if not fails:
            return await self._inner.call(call, ctx)
        self.failed.append(name)
        kind = ctx.rng.choice(self._outages.kinds)
        return canonical_json({"error": {"type": kind, "message": _MESSAGES[kind].format(name=name)}}).decode()
