"""What a run starts once: started on first use, shared, closed in reverse order, whatever happened in between."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gristmill.errors import GristmillError
from gristmill.resources import Resources

EVENTS: list[str] = []


@contextmanager
def server(name: str, broken: bool = False) -> Iterator[str]:
    time.sleep(0.02)
    if broken:
        raise GristmillError(f"{name} can't be started.")
    EVENTS.append(f"start {name}")
    yield f"the {name}"
    EVENTS.append(f"stop {name}")


async def test_each_is_started_once_and_closed_in_reverse_order() -> None:
    EVENTS.clear()
    resources = Resources()
    assert await resources.get(server, "first") == "the first"
    assert await asyncio.gather(*(resources.get(server, "second") for _ in range(5))) == ["the second"] * 5
    await resources.close()
    assert EVENTS == ["start first", "start second", "stop second", "stop first"]


async def test_one_that_cannot_start_says_so_to_everyone_and_the_others_are_closed() -> None:
    EVENTS.clear()
    resources = Resources()
    await resources.get(server, "first")
    for _ in range(2):
        with pytest.raises(GristmillError, match="second can't be started"):
            await resources.get(server, "second", True)
    await resources.close()
    assert EVENTS == ["start first", "stop first"]


async def test_one_that_is_still_starting_is_closed_too() -> None:
    EVENTS.clear()
    resources = Resources()
    waiting = asyncio.create_task(resources.get(server, "late"))
    await asyncio.sleep(0.005)
    waiting.cancel()
    await resources.close()
    assert EVENTS == ["start late", "stop late"]
