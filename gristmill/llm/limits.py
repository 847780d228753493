"""How hard an endpoint may be asked: an adaptive limit of calls in flight, and a circuit that opens when it is gone.

The limit falls only when more than 20 % of a window's replies say that the server is overloaded (429, 503, time-outs),
and grows back by a tenth per good window. Plain additive-increase/multiplicative-decrease would halve at every single
429: at 5 % random ones it settles near 5 calls in flight, and a run takes ten times as long.
"""

import asyncio
import math
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
        self._rests_until = self._asked_rest_until = 0.0

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
            self._wake()

    @property
    def load(self) -> float:
        """Calls that have a place or wait for one, as a share of the places."""
        return (self.in_flight + len(self._waiting)) / self.allowed

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
        """Counts one reply; `rest` is its Retry-After, in seconds. At the end of a window the limit moves; where it
        falls, no call is sent until the longest Retry-After of that window is over."""
        self._seen += 1
        self._strained += strained
        if rest:
            self._asked_rest_until = max(self._asked_rest_until, time.monotonic() + rest)
        if self._seen < max(SMALLEST_WINDOW, 2 * self.allowed):
            return
        if self._strained > STRAINED_SHARE * self._seen:
            self.allowed = max(1.0, self.allowed * SHRINK)
            self._rest()
        else:
            self.allowed = min(self.most, self.allowed + max(1.0, GROW * self.allowed))
        self._seen = self._strained = 0
        self._asked_rest_until = 0.0
        self._wake()

    def _rest(self) -> None:
        seconds = self._asked_rest_until - time.monotonic()
        if seconds > 0:
            self._rests_until = self._asked_rest_until
            asyncio.get_running_loop().call_later(seconds, self._wake)


class Circuit:
    """Opens after `TOLERATED` failures in a row (lost connections, 5xx) and no answer for `GRACE` seconds: then nothing
    is sent but one probe, after ever longer pauses. Otherwise an endpoint that fails at once would look like the least
    busy one and get every call. The grace is there because failures come faster than answers: of calls that start
    together, those that fail end first.
    """

    TOLERATED = 5
    GRACE = 1.0
    FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0

    def __init__(self) -> None:
        self.is_open = False
        self._failures = 0
        self._answered_at = -math.inf
        self._pause = self.FIRST_PAUSE
        self._probe_at = 0.0
        self._probing = False

    def admits(self) -> bool:
        """Whether a call may be sent: always while closed; while open, one at a time when its pause is over."""
        return not self.is_open or (not self._probing and time.monotonic() >= self._probe_at)

    def enter(self) -> bool:
        """Before a call that `admits` let through; whether it is a probe, which its end is told."""
        probe = self.is_open
        self._probing |= probe
        return probe

    def close(self) -> None:
        """The endpoint answered."""
        self._answered_at = time.monotonic()
        if self._failures:
            self.is_open, self._failures, self._pause, self._probing = False, 0, self.FIRST_PAUSE, False

    def failed(self, probe: bool) -> None:
        """The endpoint didn't answer, or only with an error of its own. Calls that were out when the circuit opened
        fail as well; only a probe that fails makes the pause longer."""
        now = time.monotonic()
        self._failures += 1
        opens = not self.is_open and self._failures >= self.TOLERATED and now - self._answered_at >= self.GRACE
        if opens or probe:
            self.is_open = True
            self._probe_at = now + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(self.LONGEST_PAUSE, 2 * self._pause)
        self.left(probe)

    def left(self, probe: bool) -> None:
        """The call ended without a word about the endpoint (it was cancelled, say)."""
        if probe:
            self._probing = False
