"""Processes that train: two ranks, joined by gloo as torchrun would join them, or one that may be killed.

They are forked from a server that has imported the trainer already, and has run nothing of it.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch

from sft.world import join_world

RANKS = 2
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "sft.train", "sft.lora"])


def on_two_ranks(work: Callable[..., None], *arguments: Any) -> list[int | None]:
    """`work(world, *arguments)` on both; their exit statuses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [PROCESSES.Process(target=_join, args=(rank, port, work, arguments)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    return [process.exitcode for process in ranks]


def _join(rank: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with join_world() as world:
        work(world, *arguments)
