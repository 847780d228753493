"""What one sees while a run works: a live line on a terminal, a plain line every 10 seconds elsewhere."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gristmill.budget import Meter
from gristmill.commands import PLAIN_SECONDS
from gristmill.engine import Tally

LIVE_SECONDS = 0.2
COSTLIEST = 3


@asynccontextmanager
async def progress(tally: Tally, meter: Meter, *, samples: bool, quiet: bool) -> AsyncIterator[None]:
    """Shows `tally` and `meter` until the block ends; `samples` says that the target counts records, not tasks."""
    if quiet:
        yield
        return
    live = sys.stderr.isatty()
    display = asyncio.create_task(_show(tally, meter, samples, live))
    try:
        yield
    finally:
        display.cancel()
        await asyncio.gather(display, return_exceptions=True)
        if live:
            print(f"\r\x1b[K{line(tally, meter, samples)}", file=sys.stderr)


async def _show(tally: Tally, meter: Meter, samples: bool, live: bool) -> None:
    while True:
        await asyncio.sleep(LIVE_SECONDS if live else PLAIN_SECONDS)
        text = line(tally, meter, samples)
        print(f"\r\x1b[K{text}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)


def line(tally: Tally, meter: Meter, samples: bool) -> str:
    """done/accepted/rejected/failed, calls in flight, tokens, cost with where it goes, time left."""
    unit, done = ("records", tally.records) if samples else ("tasks", tally.done)
    target = f"/{tally.total}" if tally.total else ""
    seconds = time.monotonic() - tally.started
    here = done - tally.before[unit]
    left = f", {_duration(seconds / here * (tally.total - done))} left" if tally.total and here > 0 else ""
    return (
        f"{done}{target} {unit}: {tally.accepted} accepted, {tally.rejected} rejected, {tally.failed} failed | "
        f"{meter.in_flight} in flight, {meter.calls} calls ({meter.calls_reused} reused), {meter.tokens:,} tokens, "
        f"{meter.usd:.4f} USD{_where(meter)} | {_duration(seconds)}{left}"
    )


def _where(meter: Meter) -> str:
    """The roles and stages that cost most, where there are several."""
    costly = sorted(((usd, by) for by, usd in meter.usd_by.items() if usd), reverse=True)[:COSTLIEST]
    parts = ", ".join(f"{role}/{stage} {usd:.4f}" for usd, (role, stage) in costly)
    return f" ({parts})" if len(costly) > 1 else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
