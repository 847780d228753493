"""How hard an endpoint may be asked: an adaptive limit of calls in flight, and a circuit that opens when it is gone.

The limit falls only when more than 20 % of a window's replies say that the server is overloaded (429, 503, time-outs),
and grows back by a tenth per good window. Plain additive-increase/multiplicative-decrease would halve at every single
429: at 5 % random ones it settles near 5 calls in flight, and a run takes ten times as long.
"""

import asyncio
import random
import time
from collections import deque
from types import TracebackType

STRAINED_SHARE = 0.2
SMALLEST_WINDOW = 16
SHRINK = 0.7
GROW = 0.1


class Limit:
    """`async with limit:` holds one of at most `allowed` places; waiting calls get theirs in the order they came."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = float(most)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._seen = self._strained = 0
        self._rests_until = 0.0

    async def __aenter__(self) -> None:
        if not self._waiting and self._free() > 0:
            self.in_flight += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given to this call, which can't use it any more
                self._give_back()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def raise_to(self, most: int) -> None:
        """For an endpoint that several roles share: the most that any of them allows."""
        if most > self.most:
            self.most, self.allowed = most, self.allowed + most - self.most

    def _free(self) -> int:
        return int(self.allowed) - self.in_flight if time.monotonic() >= self._rests_until else 0

    def _give_back(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._free() > 0:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def saw(self, strained: bool, rest: float = 0.0) -> None:
        """Counts one reply. At the end of a window the limit moves; where it falls, no call is sent for `rest` seconds
        (the server's Retry-After)."""
        self._seen += 1
        self._strained += strained
        if self._seen < max(SMALLEST_WINDOW, 2 * self.allowed):
            return
        if self._strained > STRAINED_SHARE * self._seen:
            self.allowed = max(1.0, self.allowed * SHRINK)
            if rest:
                self._rests_until = time.monotonic() + rest
                asyncio.get_running_loop().call_later(rest, self._wake)
        else:
            self.allowed = min(self.most, self.allowed + max(1.0, GROW * self.allowed))
        self._seen = self._strained = 0
        self._wake()


class Circuit:
    """Opens after `TOLERATED` failures in a row (lost connections, 5xx): nothing is sent then but one probe after ever
    longer pauses. Otherwise an endpoint that fails at once would look like the least busy one, and get every call."""

    TOLERATED = 5
    FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0

    def __init__(self) -> None:
        self._failures = 0
        self._pause = self.FIRST_PAUSE
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._failures >= self.TOLERATED

    def admits(self) -> bool:
        """Whether a call may be sent: always while closed; while open, one at a time when its pause is over."""
        return not self.is_open or (not self._probing and time.monotonic() >= self._probe_at)

    def enter(self) -> None:
        """Before a call that `admits` let through."""
        self._probing = self.is_open

    def close(self) -> None:
        """The endpoint answered."""
        self._failures, self._pause, self._probing = 0, self.FIRST_PAUSE, False

    def failed(self) -> None:
        """The endpoint didn't answer, or only with an error of its own."""
        was_probe, self._probing = self._probing, False
        self._failures += 1
        if was_probe or self._failures == self.TOLERATED:  # the other calls that were in flight fail as well
            self._probe_at = time.monotonic() + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(self.LONGEST_PAUSE, 2 * self._pause)

    def left(self) -> None:
        """The call ended without a word about the endpoint (it was cancelled, say)."""
        self._probing = False
