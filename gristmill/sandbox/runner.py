"""The program that a cell runs as its first process: it takes snippets, one at a time, and says how each one ended.

It needs nothing but Python's standard library, and is handed to the cell's interpreter as text:

    python -c SOURCE FILTER UID            FILTER: a seccomp program in base64 (see seccomp.py)
    stdin   <length> {"files": {"main.py": "print(1)"}, "stdin": "", "seconds": 10, "memory": 2**29, ...}
    stdout  <length> {"ended": "exit", "exit_code": 0, "stdout": "1\\n", "stderr": "", "seconds": 0.021}

As process 1 of its own PID namespace it can't be killed or stopped by a snippet, though both have the same user: the
kernel drops signals from inside that this process has no handler for (man 7 pid_namespaces). It is not dumpable, so its
memory, environment and descriptors stay closed as well, and the filter takes from snippets the calls that would change
its limits, its priority or its cores. `kill(-1)` from here ends everything else at once; a fork can't outrun it.

A snippet is a fresh interpreter, never a fork of this one: it sees nothing of earlier requests. What it leaves behind,
processes and files, is gone before the next request is read. If anything here fails, the process ends, and with it the
cell; whoever holds the other end replaces it.
"""

import base64
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import Any

SCRATCH = "/tmp"
WATCH_SECONDS = 0.05  # between two looks at the memory in use
OPEN_FILES = 256
FILE_SIZE = 64 * 2**20
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 4, 22, 38, 2
OOM_COUNTERS = "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"  # cgroup 2 and 1

libc = ctypes.CDLL(None, use_errno=True)


class FilterProgram(ctypes.Structure):
    """struct sock_fprog: what PR_SET_SECCOMP takes."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def main() -> None:
    instructions = base64.b64decode(sys.argv[1])
    become(int(sys.argv[2]))
    environment = {
        "HOME": SCRATCH, "TMPDIR": SCRATCH, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
    }  # fmt: skip
    if "LD_LIBRARY_PATH" in os.environ:  # where a local root file system keeps the interpreter's libraries
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    program = FilterProgram(len(instructions) // 8, instructions)
    os.chdir(SCRATCH)
    send({"ready": True})
    while (request := receive()) is not None:
        send(run(request, program, environment))
        empty(SCRATCH)


def become(uid: int) -> None:
    """Takes the unprivileged user `uid` if this is root, and closes this process to others of the same user."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # changing the user forgets it
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one handler that Python sets by itself


def prctl(option: int, *values: object) -> None:
    padded = [*values, 0, 0, 0, 0][:4]
    if libc.prctl(option, *(ctypes.c_ulong(value) if isinstance(value, int) else value for value in padded)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


# ---- the other end


def receive() -> dict[str, Any] | None:
    """The next request; None when nobody is there any more."""
    header = sys.stdin.buffer.read(4)
    if len(header) < 4:
        return None
    (length,) = struct.unpack(">I", header)
    body = sys.stdin.buffer.read(length)
    return json.loads(body) if len(body) == length else None


def send(reply: dict[str, Any]) -> None:
    body = json.dumps(reply).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
    sys.stdout.buffer.flush()


# ---- one snippet


def run(request: dict[str, Any], program: FilterProgram, environment: dict[str, str]) -> dict[str, Any]:
    for name, text in request["files"].items():
        path = os.path.join(SCRATCH, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    given = os.open(SCRATCH, os.O_TMPFILE | os.O_RDWR)
    os.write(given, request["stdin"].encode())
    os.lseek(given, 0, os.SEEK_SET)
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    failure, failure_end = os.pipe()  # closed by a successful exec
    kills = oom_kills()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            become_snippet(request, program, environment, given, out_end, err_end)
        except BaseException as error:
            os.write(failure_end, repr(error).encode())
        finally:
            os._exit(1)
    for end in (given, out_end, err_end, failure_end):
        os.close(end)
    broken = os.read(failure, 1000)
    os.close(failure)
    if broken:
        raise RuntimeError("the snippet could not be started: " + broken.decode())
    ended, kept = watch(pid, {out: b"", err: b""}, started + request["seconds"], request["memory"], request["output"])
    status = kill_all(pid)
    seconds = time.monotonic() - started
    for pipe in (out, err):
        rest = request["output"] - sum(map(len, kept.values()))
        kept[pipe] += drain(pipe, rest)
        os.close(pipe)
    if ended == "exit" and oom_kills() > kills:
        ended = "memory"
    return {
        "ended": ended,
        "exit_code": os.waitstatus_to_exitcode(status) if ended == "exit" else None,
        "stdout": kept[out].decode("utf-8", "replace"),
        "stderr": kept[err].decode("utf-8", "replace"),
        "seconds": round(seconds, 4),
    }


def become_snippet(
    request: dict[str, Any], program: FilterProgram, environment: dict[str, str], *descriptors: int
) -> None:
    """In the child: descriptors, limits and filter, then the interpreter."""
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    os.setsid()
    prctl(PR_SET_DUMPABLE, 1)  # else its own files in /proc are not its own
    with open("/proc/self/oom_score_adj", "w") as score:  # process 1 is to be the last that memory is taken from
        score.write("1000")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name, most in (
        ("AS", request["memory"]), ("NPROC", request["processes"] + 1), ("FSIZE", FILE_SIZE), ("NOFILE", OPEN_FILES),
        ("CORE", 0), ("MSGQUEUE", 0), ("MEMLOCK", 0),
    ):  # fmt: skip
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))
    os.execve(sys.executable, [sys.executable, *request["arguments"]], environment)


def watch(pid: int, kept: dict[int, bytes], deadline: float, memory: int, most: int) -> tuple[str, dict[int, bytes]]:
    """Reads the snippet's output until it ends or must be ended; how, and what was read of each pipe."""
    process = os.pidfd_open(pid)
    poll = select.poll()
    for pipe in (*kept, process):
        poll.register(pipe, select.POLLIN)
    poll.register(0, select.POLLHUP | select.POLLRDHUP)
    look = time.monotonic() + WATCH_SECONDS
    try:
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "timeout", kept
            if now >= look:
                look = now + WATCH_SECONDS
                if memory_in_use() > memory:
                    return "memory", kept
            for descriptor, _ in poll.poll(1000 * max(0.001, min(deadline, look) - now)):
                if descriptor == 0:
                    os._exit(0)  # nobody waits for the reply
                if descriptor == process:
                    return "exit", kept
                chunk = os.read(descriptor, 65536)
                kept[descriptor] += chunk
                if not chunk:
                    poll.unregister(descriptor)
                if sum(map(len, kept.values())) > most:
                    kept[descriptor] = kept[descriptor][: most - sum(map(len, kept.values()))]
                    return "output", kept
    finally:
        os.close(process)


def memory_in_use() -> int:
    """Bytes that snippets hold in memory; what a fork shares with its parent counts for both. Files don't count."""
    kilobytes = 0
    for name in os.listdir("/proc"):
        if name.isdecimal() and name != "1":
            with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/status") as file:  # or ended
                kilobytes += sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon:", "RssShmem:")))
    return kilobytes * 1024


def oom_kills() -> int:
    """How often the kernel killed a process of this cell for memory; 0 where no control group tells."""
    for path in OOM_COUNTERS:
        if os.path.exists(path):
            with open(path) as file:
                counters = dict(line.split() for line in file)
            return int(counters.get("oom_kill", 0))
    return 0


def kill_all(pid: int) -> int:
    """Ends every process but this one, and waits until they are gone; the wait status of `pid`."""
    status = 0
    try:
        while True:
            with suppress(ProcessLookupError):  # none is left but, perhaps, zombies
                os.kill(-1, signal.SIGKILL)
            ended, how = os.waitpid(-1, 0)
            if ended == pid:
                status = how
    except ChildProcessError:
        return status


def drain(pipe: int, most: int) -> bytes:
    """What is still in the pipe; every writer is gone."""
    kept = b""
    while chunk := os.read(pipe, 65536):
        kept += chunk[: max(0, most - len(kept))]
    return kept


def empty(folder: str) -> None:
    """Removes all that lies in `folder`, however deep, forbidden or linked. Directories are moved up and taken apart
    there, so no path gets long; no link is followed."""
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)  # a directory that can't be written can't be moved
                    os.rename(inner.path, os.path.join(folder, os.urandom(16).hex()))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


if __name__ == "__main__":
    main()
