"""The processes that train together: one per device under torchrun, or just this one.

Where one of them fails, all end: the first to fail says why, and the others, which find it gone, say nothing.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from gristmill.commands import INTERRUPTED
from gristmill.errors import GristmillError

T = TypeVar("T")

PATIENCE = timedelta(hours=6)  # of ranks that wait while the first one prepares data or writes a model


class World(NamedTuple):
    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all ranks, in fp64."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.size > 1:
            dist.all_reduce(total)
        summed: list[float] = total.tolist()
        return summed

    def gather(self, value: T) -> list[T]:
        """Each rank's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def of_first(self, value: T | None) -> T:
        """The first rank's value, on all; the others give None."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, device=self.device)
        return cast(T, values[0])

    def wait(self) -> None:
        """Until every rank has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_world() -> Iterator[World]:
    """By torchrun's environment variables: nccl on GPUs, gloo on CPUs."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    store, rank, size = next(rendezvous("env://"))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE
    )
    try:
        yield World(rank, size, device)
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends the others at once, but they have to say why
        if isinstance(error, KeyboardInterrupt) and rank > 0:
            raise SystemExit(INTERRUPTED) from None
        if isinstance(error, Exception):
            _end(error, store)
        raise
    dist.destroy_process_group()


def _end(error: Exception, store: Store) -> NoReturn:
    """Raises what this rank has to say: nothing, where it ends because another one has."""
    is_first = store.add("failed", 1) == 1
    if isinstance(error, dist.DistError) or "gloo" in str(error):  # gloo's have no class of their own
        error = GristmillError(
            "a process of this run has died, perhaps because memory ran out, and the others have stopped. The last "
            "state is kept; repeat the command."
        )
    if isinstance(error, GristmillError) and not is_first:
        raise SystemExit(error.exit_status) from None
    raise error from None
