"""The stronger engine: each cell is a container that is started once and then takes one snippet after the other.

No network, a read-only root, one small writable folder in memory, no capabilities, no way to new privileges, a user
that exists nowhere, bounds on memory, cores and processes, Docker's own filter of system calls around ours. Snippets
travel over the container's attached input and output, so a run costs a fresh interpreter and no `docker exec`.

A cell ends when its input does, and the daemon then removes it: so it doesn't outlive this process, however that ends.
What was created and never started is swept by the next start (`sweep`), which knows its own by their label:

    gristmill.sandbox = "build-7/81532/4711"       host, pid and start time of the owner

Source: https://docs.docker.com/reference/api/engine/ (ContainerCreate, ContainerAttach).
"""

import os
import re
import secrets
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker import APIClient, DockerClient
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig
from requests.exceptions import RequestException

from gristmill.errors import GristmillError
from gristmill.sandbox.cells import (
    MEMORY_MB,
    PROCESSES,
    SCRATCH_MB,
    START_SECONDS,
    UIDS,
    Cell,
    CellDied,
    runner_command,
)
from gristmill.sandbox.local_python import INTERPRETER

OWNER = "gristmill.sandbox"
FAILURES = (DockerException, RequestException, OSError)
_STDOUT = 1


def connect(timeout: float = 60.0) -> DockerClient:
    """A client of the daemon that DOCKER_HOST names, or of the usual one; GristmillError where none answers."""
    try:
        client = DockerClient.from_env(timeout=timeout)
        client.ping()
    except FAILURES as error:
        where = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
        raise GristmillError(
            f"no Docker daemon answers at {where} ({brief(error)}); start one, or name one by DOCKER_HOST."
        ) from None
    return client


class DockerCell(Cell):
    """One container of `image`, with a client of its own: clients are not made for several threads."""

    def __init__(self, image: str) -> None:
        self.engine = f"docker ({image})"
        self._image = image
        self._container = ""
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._complaints = b""

    def _open(self) -> None:
        try:
            self._api: APIClient = connect().api
            self._container = self._create()
            wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            stream = self._api.attach_socket(self._container, params=wanted)
            self._socket = getattr(stream, "_sock", stream)  # a plain connection comes wrapped as a file to read
            self._api.start(self._container)
        except (*FAILURES, GristmillError) as error:
            raise CellDied(brief(error)) from error

    def _create(self) -> str:
        uid = secrets.choice(UIDS)
        host_config = self._api.create_host_config(
            network_mode="none",
            ipc_mode="none",
            read_only=True,
            tmpfs={"/tmp": f"rw,nosuid,nodev,noexec,size={SCRATCH_MB}m,nr_inodes=16384,mode=1777"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=f"{MEMORY_MB}m",
            memswap_limit=f"{MEMORY_MB}m",
            pids_limit=PROCESSES,
            nano_cpus=10**9,
            log_config=LogConfig(type="none"),
            auto_remove=True,
        )
        created: dict[str, Any] = self._api.create_container(
            self._image,
            runner_command(str(INTERPRETER), uid),
            user=f"{uid}:{uid}",
            hostname="sandbox",
            stdin_open=True,
            labels={OWNER: owner_label()},
            host_config=host_config,
        )
        if lost := [warning for warning in created.get("Warnings") or () if "discarded" in warning]:
            remove(self._api, created["Id"])
            raise CellDied(f"the daemon can't keep a limit: {lost[0]}")
        return str(created["Id"])

    def _write(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.settimeout(START_SECONDS)
            self._socket.sendall(data)
        except OSError as error:
            raise CellDied(str(error)) from error

    def _read(self, size: int, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while len(self._received) < size:
            header = self._exactly(8, deadline)
            stream, length = struct.unpack(">BxxxL", header)
            body = self._exactly(length, deadline)
            if stream == _STDOUT:
                self._received += body
            else:
                self._complaints += body
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def _exactly(self, size: int, deadline: float) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < size:
            try:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = self._socket.recv(size - len(data))
            except TimeoutError:
                raise CellDied("no answer in time") from None
            except OSError as error:
                raise CellDied(str(error)) from error
            if not chunk:
                lines = self._complaints.decode(errors="replace").splitlines()
                raise CellDied(lines[-1] if lines else "the container ended without a word")
            data += chunk
        return data

    def kill(self) -> None:
        """If the daemon doesn't answer now, it removes the container later, for its input is closed."""
        if self._socket is not None:
            with suppress(OSError):  # no longer connected
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes who reads, here and there
            self._socket.close()
        if self._container:
            with suppress(*FAILURES):
                remove(self._api, self._container)
            self._api.close()


def remove(api: APIClient, container: str) -> None:
    """Removes a container, running or not; one that is gone or going is as good."""
    try:
        api.remove_container(container, force=True)
    except NotFound:
        return
    except APIError as error:
        if "already in progress" not in str(error):
            raise


def sweep(client: DockerClient) -> int:
    """Removes the containers whose owner on this host is gone; how many."""
    host = socket.gethostname()
    swept = 0
    try:
        for found in client.api.containers(all=True, filters={"label": OWNER}):
            owner = found["Labels"][OWNER]
            where, pid, _ = owner.rsplit("/", 2)
            if where == host and owner_label(int(pid)) != owner:
                remove(client.api, found["Id"])
                swept += 1
    except FAILURES as error:
        raise GristmillError(f"containers of an earlier run can't be removed: {brief(error)}.") from None
    return swept


def owner_label(pid: int | None = None) -> str:
    """Names a living process, also against a later one with its number; another text where there is none."""
    pid = pid or os.getpid()
    stat = Path(f"/proc/{pid}/stat")
    started = stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else ""
    return f"{socket.gethostname()}/{pid}/{started}"


def brief(error: Exception) -> str:
    """The innermost reason; the client wraps one in the other, and in brackets."""
    text = " ".join(str(getattr(error, "explanation", None) or error).split())
    inner = re.findall(r"Error\((?:\d+, )?['\"](.+?)['\"]\)", text)
    return str(inner[-1] if inner else text)[:200].rstrip(".")
