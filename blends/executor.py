"""Where the work on rows is done: in this process, or on a Ray cluster (https://docs.ray.io, tasks).

Signatures, comparisons, token counts and the like are pure functions of a batch of rows. An executor maps them over
batches and gives the results in order, so a blend is the same wherever it was made.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from gristmill.errors import GristmillError
from gristmill.scaleout.connection import connect, import_ray, keep_signals
from schemas.run_config import ExecutorConfig

Work = TypeVar("Work")
Result = TypeVar("Result")


class Executor(Protocol):
    def map(self, function: Callable[[Work], Result], work: Iterable[Work]) -> Iterator[Result]:
        """`function` of each item in order; only a few items are held at a time."""


class Local:
    """One batch after the other; numpy, rensa and the tokenizer use the cores that they can."""

    def map(self, function: Callable[[Work], Result], work: Iterable[Work]) -> Iterator[Result]:
        return map(function, work)


class OnRay:
    """Two batches in flight per worker. A batch whose worker dies is done again by another (Ray's own retry)."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray = ray
        self._in_flight = 2 * workers

    def map(self, function: Callable[[Work], Result], work: Iterable[Work]) -> Iterator[Result]:
        remote = self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(_apply)
        shipped = self._ray.put(function)
        waiting: deque[Any] = deque()
        for item in work:
            waiting.append(remote.remote(shipped, item))
            if len(waiting) >= self._in_flight:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, GristmillError):
                raise error.cause from None
            raise GristmillError(f"a worker broke: {error.cause!r}.") from error
        except self._ray.exceptions.RayError as error:
            raise GristmillError(f"the Ray cluster is lost: {' '.join(str(error).split())[:300]}.") from None


def _apply(function: Callable[[Work], Result], item: Work) -> Result:
    return function(item)


@contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """The config's executor; a cluster that was started for it ends with the block."""
    if config.kind == "local":
        yield Local()
        return
    ray = import_ray()
    ours = not ray.is_initialized()
    if ours:
        connect(ray, config)
        keep_signals()
    try:
        yield OnRay(ray, config.workers)
    finally:
        if ours:
            ray.shutdown()
