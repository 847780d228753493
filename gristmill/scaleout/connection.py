"""All that knows Ray: the connection of a run to its cluster, and a worker's handle (https://docs.ray.io, actors).

Ray's own telemetry and dashboard stay off. Keys don't travel: a worker reads them from its own environment.
"""

import asyncio
import io
import logging
import os
import signal
import socket
import tarfile
import threading
from pathlib import Path
from typing import Any, Self

from gristmill.errors import ConfigError, GristmillError
from gristmill.scaleout.messages import Said, Told, Work
from gristmill.scaleout.worker import Worker, listing
from schemas.run_config import ExecutorConfig

CONNECT_SECONDS = 5.0
STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster that a run starts for itself: only long batches of messages lie there."""


class WorkerLost(Exception):
    """The worker died, or can't be reached any more."""


class Connection:
    """The driver's connection to a cluster; one that was there before (a program's own) is used, and left open."""

    def __init__(self, ray: Any, is_ours: bool) -> None:
        self._ray = ray
        self._is_ours = is_ours
        self._packed_artifacts: Any = None

    @classmethod
    async def open(cls, config: ExecutorConfig) -> Self:
        """ConfigError where Ray isn't installed or there is no such cluster."""
        ray = import_ray()
        if ray.is_initialized():
            return cls(ray, is_ours=False)
        await asyncio.to_thread(connect, ray, config)
        keep_signals()
        return cls(ray, is_ours=True)

    def new_worker(self) -> "Remote":
        """A worker that Ray starts as soon as it has a CPU for it, on the least busy machine."""
        actor = self._ray.remote(Worker).options(num_cpus=1, scheduling_strategy="SPREAD").remote()
        return Remote(self, actor)

    async def packed_artifacts(self, folder: Path) -> Any:
        """The folder as an archive in Ray's store, made once: for machines that don't see it."""
        if self._packed_artifacts is None:
            self._packed_artifacts = self._ray.put(await asyncio.to_thread(_pack, folder))
        return self._packed_artifacts

    async def result(self, reference: Any) -> Any:
        """What a remote call gives. WorkerLost, or the error that ends the run."""
        errors = self._ray.exceptions
        try:
            return await reference
        except errors.RayTaskError as error:
            if isinstance(error.cause, GristmillError):
                raise error.cause from None
            raise GristmillError(f"a worker broke: {error.cause!r}.") from error
        except errors.RayError as error:
            raise WorkerLost(" ".join(str(error).split())[:300]) from None

    def kill(self, actor: Any) -> None:
        self._ray.kill(actor)

    async def close(self) -> None:
        if self._is_ours:
            await asyncio.to_thread(self._ray.shutdown)


class Remote:
    """A worker's handle."""

    def __init__(self, connection: Connection, actor: Any) -> None:
        self._connection = connection
        self._actor = actor

    async def start(self, work: Work, number: int) -> None:
        """Waits until Ray has room for it. The artifacts are shipped where the worker doesn't see the driver's."""
        seen = await self._connection.result(self._actor.listing.remote(work.artifacts))
        here = listing(work.artifacts)
        shipped = None if seen == here else await self._connection.packed_artifacts(work.artifacts)
        await self._connection.result(self._actor.start.remote(work, number, shipped))

    async def hear(self) -> list[Said]:
        said: list[Said] = await self._connection.result(self._actor.hear.remote())
        return said

    async def tell(self, messages: list[Told]) -> None:
        await self._connection.result(self._actor.tell.remote(messages))

    def close(self) -> None:
        self._actor.close.remote()

    def kill(self) -> None:
        self._connection.kill(self._actor)


def import_ray() -> Any:
    """The package; ConfigError where it isn't installed."""
    try:
        import ray
    except ImportError:
        raise ConfigError("executor: Ray is not installed: pip install 'gristmill[ray]'.") from None
    return ray


def connect(ray: Any, config: ExecutorConfig) -> None:
    """Connects this process to the config's cluster; ConfigError where there is none that can be used."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address == "local":
        ray.init("local", num_cpus=config.workers, object_store_memory=STORE_BYTES, include_dashboard=False, **quiet)
        return
    address = os.environ.get("RAY_ADDRESS", "auto") if config.address == "auto" else config.address
    try:
        host, _, port = address.rpartition(":")
        if host:  # Ray itself would try for many minutes
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        what = f"there is no Ray cluster at {address}" if host else "no Ray cluster runs on this machine"
        raise ConfigError(
            f"executor.address: {what} that can be used ({' '.join(str(error).split())[:200]}). Start one "
            "(`ray start --head`), correct the address, or take `local`."
        ) from None


def keep_signals() -> None:
    """Gives back to Python, and so to our own handlers, the signals that Ray's core has taken for a crash report."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.getsignal(number))


def _pack(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()
