"""What a run starts once and its tasks share: a database server, a pool of containers, a search index."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

T = TypeVar("T")


class Resources:
    """Context managers, each entered on first use and left when the run ends, in reverse order."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, make: Callable[..., AbstractContextManager[T]], *arguments: Hashable) -> T:
        """What entering `make(*arguments)` gave; it is entered in a thread, once for the whole run.

        Raises what starting it raised, to everyone who asks for it.
        """
        key = (make, arguments)
        if key not in self._started:
            self._started[key] = asyncio.create_task(asyncio.to_thread(self._enter, make, arguments))
        started: T = await asyncio.shield(self._started[key])
        return started

    def _enter(self, make: Callable[..., AbstractContextManager[T]], arguments: tuple[Hashable, ...]) -> T:
        return self._stack.enter_context(make(*arguments))

    async def close(self) -> None:
        """Leaves them all, also those that were still starting."""
        await asyncio.gather(*self._started.values(), return_exceptions=True)
        self._started.clear()
        await asyncio.to_thread(self._stack.close)
