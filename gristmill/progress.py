"""What one sees while a run works: a live line on a terminal, a plain line every 10 seconds elsewhere."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gristmill.budget import Meter
from gristmill.engine import Tally
from gristmill.terminal import StatusLine

LIVE_SECONDS = 0.2
COSTLIEST = 3


@asynccontextmanager
async def progress(tally: Tally, meter: Meter, *, samples: bool, quiet: bool) -> AsyncIterator[None]:
    """Shows `tally` and `meter` until the block ends; `samples` says that the target counts records, not tasks."""
    if quiet:
        yield
        return
    status = StatusLine()
    display = asyncio.create_task(_show(status, tally, meter, samples))
    try:
        yield
    finally:
        display.cancel()
        await asyncio.gather(display, return_exceptions=True)
        if status.is_live:
            status.say("")
            print(lines(tally, meter, samples)[0], file=sys.stderr)


async def _show(status: StatusLine, tally: Tally, meter: Meter, samples: bool) -> None:
    while True:
        await asyncio.sleep(LIVE_SECONDS)
        status.say(*lines(tally, meter, samples))


def lines(tally: Tally, meter: Meter, samples: bool) -> list[str]:
    """How far the run is, what it cost and where that goes, time left: in full, then ever shorter."""
    unit, done = ("records", tally.records) if samples else ("tasks", tally.done)
    far = f"{done}/{tally.total} {unit}" if tally.total else f"{done} {unit}"
    seconds = time.monotonic() - tally.started
    here = done - tally.before[unit]
    left = f"{_duration(seconds / here * (tally.total - done))} left" if tally.total and here > 0 else ""
    spent = ", ".join(filter(None, [_duration(seconds), left]))
    ends = f"{tally.accepted} accepted, {tally.rejected} rejected, {tally.failed} failed"
    calls = f"{meter.in_flight} in flight, {meter.calls} calls ({meter.calls_reused} reused), {meter.tokens:,} tokens"
    usd = f"{meter.usd:.4f} USD"
    return [
        f"{far}: {ends} | {calls}, {usd}{_where(meter)} | {spent}",
        f"{far}: {ends} | {calls}, {usd} | {spent}",
        f"{far}: {ends} | {usd} | {spent}",
        f"{far}, {tally.failed} failed | {usd} | {left or spent}",
        f"{far}, {left or spent}",
    ]


def _where(meter: Meter) -> str:
    """The roles and stages that cost most, where there are several."""
    costly = sorted(((usd, by) for by, usd in meter.usd_by.items() if usd), reverse=True)[:COSTLIEST]
    parts = ", ".join(f"{role}/{stage} {usd:.4f}" for usd, (role, stage) in costly)
    return f" ({parts})" if len(costly) > 1 else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
