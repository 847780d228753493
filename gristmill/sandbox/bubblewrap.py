"""The weaker engine: cells made of namespaces by bubblewrap, where Docker can't run.

Namespaces of its own (processes, network, IPC, host name), nothing to be seen but Python, one writable folder, no
capabilities, no way to new privileges, the same filter of system calls. Weaker than a container: no control group
bounds memory and cores of the cell as a whole (a limit per process and a look every 50 ms do), nothing bounds the
number of files, and /proc tells from where on the host the files of Python come.

Source: bwrap(1), https://github.com/containers/bubblewrap.
"""

import os
import secrets
import select
import shutil
import subprocess
import time

from gristmill.errors import GristmillError
from gristmill.sandbox import local_python
from gristmill.sandbox.cells import SCRATCH_MB, UIDS, Cell, CellDied, runner_command

ENGINE = "bubblewrap"


class BubblewrapCell(Cell):
    """One bwrap process. The kernel ends it with the thread that started it, so that thread must outlive it."""

    engine = ENGINE

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _open(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command(), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)

    def _write(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        left = memoryview(data)
        try:
            while left:
                left = left[self._process.stdin.write(left) or 0 :]
        except (OSError, ValueError) as error:  # ValueError: killed and closed meanwhile
            raise CellDied(str(error)) from error

    def _read(self, size: int, seconds: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + seconds
        data = b""
        try:
            while len(data) < size:
                if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise CellDied(f"no answer within {seconds:g} s")
                chunk = self._process.stdout.read(size - len(data))
                if not chunk:
                    raise CellDied(self._complaint())
                data += chunk
        except (OSError, ValueError) as error:
            raise CellDied(str(error)) from error
        return data

    def _complaint(self) -> str:
        """What bubblewrap or the runner wrote before it ended."""
        assert self._process is not None and self._process.stderr is not None
        lines = self._process.stderr.read().decode(errors="replace").splitlines()
        return lines[-1] if lines else "it ended without a word"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()


def check() -> None:
    """GristmillError where this machine can make no such cell."""
    cell = BubblewrapCell()
    try:
        cell.start()
    except CellDied as died:
        raise GristmillError(f"bubblewrap can make no sandbox here: {died}.") from None
    finally:
        cell.kill()


def command() -> list[str]:
    """bwrap with all its arguments, and the runner as the first process."""
    program = shutil.which("bwrap")
    if program is None:
        raise GristmillError("bubblewrap is not installed: apt-get install bubblewrap.")
    uid = str(secrets.choice(UIDS))
    if os.getuid() == 0:  # the runner leaves root, for which it needs these two, and they are lost with it
        user = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        user = ["--unshare-user", "--uid", uid, "--gid", uid]
    return [
        program, *user,
        "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--as-pid-1", "--die-with-parent", "--new-session", "--hostname", "sandbox",
        "--clearenv", "--setenv", "LD_LIBRARY_PATH", str(local_python.LIBRARIES),
        *_bound_files(),
        "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
        "--perms", "1777", "--size", str(SCRATCH_MB * 2**20), "--tmpfs", "/tmp",
        "--chdir", "/tmp", "--remount-ro", "/", "--",
        *runner_command(str(local_python.INTERPRETER), int(uid)),
    ]  # fmt: skip


def _bound_files() -> list[str]:
    stdlib = local_python.stdlib()
    bound = {local_python.STDLIB: stdlib, local_python.INTERPRETER: local_python.interpreter()}
    bound.update(local_python.libraries())
    folders = sorted({folder for at in bound for folder in at.parents if folder.name})
    arguments = [word for folder in folders for word in ("--perms", "0755", "--dir", str(folder))]
    arguments += [word for at, source in bound.items() for word in ("--ro-bind", str(source), str(at))]
    for name in ("site-packages", "dist-packages"):
        if (stdlib / name).is_dir():  # hides what is installed on the host
            arguments += ["--tmpfs", str(local_python.STDLIB / name), "--remount-ro", str(local_python.STDLIB / name)]
    return arguments
