"""A server that lives no longer than the process that asked for it, in a private folder that goes with it.

    with throwaway(plan) as folder:              # plan: what to prepare, what to serve, as whom, with how much memory
        connect(folder / "socket")

Between the two stands a keeper, a process of its own that reads from a pipe which only we hold open. When the pipe
closes, because the block was left or because we died, even by SIGKILL, it ends the server and removes the folder.
"""

import json
import os
import pwd
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.errors import GristmillError

LOG = "server.log"
_POLL = 0.1
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
_GRACE = 5.0


class Plan(NamedTuple):
    """Commands as functions of the folder: `prepare` must end before `serve` begins. Root runs them as `user`."""

    name: str
    prepare: Callable[[Path], list[str]]
    serve: Callable[[Path], list[str]]
    user: str
    memory: int
    stop: signal.Signals


@contextmanager
def throwaway(plan: Plan) -> Iterator[Path]:
    """The folder of a server that is starting; wait for its socket with `is_up`."""
    folder = Path(tempfile.mkdtemp(prefix="gristmill-", dir=_place()))
    account = _account(plan.user)
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
    orders = {
        "prepare": plan.prepare(folder),
        "serve": plan.serve(folder),
        "uid": account.pw_uid if account else None,
        "gid": account.pw_gid if account else None,
        "memory": plan.memory,
        "stop": int(plan.stop),
    }
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-m", "judges.throwaway", str(folder), json.dumps(orders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # ctrl-C is for us, who then close the pipe
    )
    try:
        yield folder
    finally:
        if keeper.stdin:
            keeper.stdin.close()
        keeper.wait()


def last_words(folder: Path, name: str) -> GristmillError:
    """The error to raise where a server doesn't come up."""
    log = folder / LOG
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it left no message")
    return GristmillError(f"{name} did not start: {said[:300]}")


def has_ended(folder: Path) -> bool:
    """Whether the keeper has given up on the server; its log is still there to be read."""
    return (folder / "ended").exists()


def _place() -> str | None:
    """In memory, where there is plenty and no TMPDIR is set. A socket's path is at most about 100 characters long."""
    memory = Path("/dev/shm")
    if "TMPDIR" not in os.environ and memory.is_dir() and shutil.disk_usage(memory).free > 2 * 2**30:
        return str(memory)
    return "/tmp" if len(tempfile.gettempdir()) > 60 else None


def _account(user: str) -> pwd.struct_passwd | None:
    """The account that root steps down to; these servers refuse to run as root, or should."""
    if os.geteuid() != 0:
        return None
    for name in (user, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise GristmillError(
        f"there is neither a user {user} nor a user nobody to run a server as; run as another than root."
    )


# --- the keeper ------------------------------------------------------------------------------------------------------


def _keep(folder: Path, orders: dict[str, Any]) -> None:
    """Prepares, serves, waits for the pipe to close, ends the server and removes the folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        with (folder / LOG).open("wb") as log:
            for command in (orders["prepare"], orders["serve"]):
                server = _start(command, folder, orders, log)
                pipe_closed = _wait(server)
                if pipe_closed:
                    _end(server, orders["stop"])
                    return
                if server.returncode != 0:
                    break
        (folder / "ended").touch()
        sys.stdin.read()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(command: list[str], folder: Path, orders: dict[str, Any], log: Any) -> "subprocess.Popen[bytes]":
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def limit() -> None:
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_AS, (orders["memory"], orders["memory"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        user=orders["uid"],
        group=orders["gid"],
        extra_groups=[] if orders["uid"] is not None else None,
        start_new_session=True,  # so that its children can be ended with it
        preexec_fn=limit,  # this process has one thread
    )


def _wait(server: "subprocess.Popen[bytes]") -> bool:
    """Until the pipe closes (true) or the server ends by itself."""
    while server.poll() is None:
        readable, _, _ = select.select([sys.stdin], [], [], _POLL)
        if readable and not os.read(sys.stdin.fileno(), 1):
            return True
    return False


def _end(server: "subprocess.Popen[bytes]", stop: int) -> None:
    """The server by its own signal, then whatever is left of its children."""
    server.send_signal(stop)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), json.loads(sys.argv[2]))
