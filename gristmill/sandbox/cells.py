"""A cell: an isolated place with one interpreter in it that runs snippets, one after the other (see runner.py).

What an engine adds is how such a place is made: docker.py and bubblewrap.py. The rest is here, so both keep the same
rules: what a snippet went beyond, how long the other end is waited for, what the answer means.
"""

import json
import struct
from abc import ABC, abstractmethod
from base64 import b64encode
from importlib.resources import files
from typing import Any

from gristmill.sandbox.model import SCRIPT, Run, Snippet
from gristmill.sandbox.seccomp import filter_program

START_SECONDS = 60.0  # a loaded machine may take long to start a cell
GRACE_SECONDS = 10.0  # after a snippet's own limit, for the cell to end it and to answer

# Walls around the whole cell; the limits of a snippet lie within.
MEMORY_MB = 1280
SCRATCH_MB = 64
PROCESSES = 80
UIDS = range(30_000, 60_000)  # each cell takes one at random: the kernel counts processes per user


class CellDied(Exception):
    """The cell is gone or silent; what it ran has no result."""


class Cell(ABC):
    """`start` makes it, `run` as often as wanted, `kill` at any time and from any thread."""

    engine: str

    def start(self) -> None:
        """Returns when the cell has run a first snippet; CellDied, with what is known of the cause, where it can't.

        A kernel, a C library or a processor that the filter doesn't suit would else fail every snippet alike.
        """
        self._open()
        self._receive(START_SECONDS)
        first = self.run(Snippet(code="print('ready')"))
        if (first.status, first.stdout) != ("ok", "ready\n"):
            raise CellDied(
                f"a first snippet ended with {first.status}, exit code {first.exit_code}: {first.complaint()}"
            )

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, data: bytes) -> None: ...

    @abstractmethod
    def _read(self, size: int, seconds: float) -> bytes:
        """Exactly `size` bytes; CellDied where they don't come in time."""

    @abstractmethod
    def kill(self) -> None:
        """Ends the cell and all that runs in it."""

    def run(self, snippet: Snippet) -> Run:
        limits = snippet.limits
        request = {
            "arguments": [SCRIPT],
            "files": {**snippet.files, SCRIPT: snippet.code},
            "stdin": snippet.stdin,
            "seconds": limits.seconds,
            "memory": limits.memory_mb * 2**20,
            "output": limits.output_kb * 2**10,
            "processes": limits.processes,
        }
        body = json.dumps(request).encode()
        self._write(struct.pack(">I", len(body)) + body)
        return _read_reply(self._receive(limits.seconds + GRACE_SECONDS), self.engine)

    def _receive(self, seconds: float) -> dict[str, Any]:
        (length,) = struct.unpack(">I", self._read(4, seconds))
        reply: dict[str, Any] = json.loads(self._read(length, GRACE_SECONDS))
        return reply


def _read_reply(reply: dict[str, Any], engine: str) -> Run:
    ended, code = reply.pop("ended"), reply["exit_code"]
    run = Run(status="ok", engine=engine, **reply)
    if ended != "exit":
        run.status = ended
    elif code != 0:
        run.status = "memory" if run.complaint().split(":")[0] == "MemoryError" else "error"
    return run


def runner_command(interpreter: str, uid: int) -> list[str]:
    """The command of a cell's first process; `uid` is whom it becomes where it starts as root."""
    source = files("gristmill.sandbox").joinpath("runner.py").read_text()
    return [interpreter, "-I", "-c", source, b64encode(filter_program()).decode(), str(uid)]
