"""What code tries in the sandbox, with both engines: nothing gets out, and the next run is as if nothing had been.

Each attack prints what it got hold of as JSON, so that an attack that breaks down by itself is no proof.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.sandbox import Run, SandboxLimits, Snippet
from gristmill.sandbox.engines import CHOICE
from gristmill.sandbox.pool import Pool, open_pool
from tests.conftest import ENGINES

CELL = "open('/proc/1/stat').read().split()[21]"
"""Inside: when the cell's first process was started, which tells one cell from another."""


@pytest.fixture(scope="module", params=ENGINES)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """One cell, so that the next run meets what the last one left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHOICE, request.param)
        with open_pool(size=1) as opened:
            yield opened


async def attack(pool: Pool, code: str, **limits: Any) -> Run:
    return await pool.run(Snippet(code=code, limits=SandboxLimits(**{"seconds": 5, **limits})))


async def findings(pool: Pool, code: str, **limits: Any) -> Any:
    """What the attack printed as JSON."""
    run = await attack(pool, "import json, os, sys\n" + code, **limits)
    assert run.status == "ok", run
    return json.loads(run.stdout)


async def assert_untouched(pool: Pool) -> None:
    """The next run has an empty folder, no company, and ends at once."""
    seen = await findings(
        pool, "print(json.dumps([sorted(os.listdir('/tmp')), [p for p in os.listdir('/proc') if p.isdecimal()]]))"
    )
    files, processes = seen
    assert files == ["main.py"]
    assert sorted(processes, key=int) == ["1", processes[-1]]


async def test_the_network(pool: Pool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0gristmill-sandbox-test")
        abstract.listen()
        port = server.getsockname()[1]
        code = f"""
import socket
def attempt(family, address, kind=socket.SOCK_STREAM):
    try:
        socket.socket(family, kind).connect(address)
    except OSError as error:
        return type(error).__name__
    return "connected"
print(json.dumps({{
    "loopback": attempt(socket.AF_INET, ("127.0.0.1", {port})),
    "datagram": attempt(socket.AF_INET, ("8.8.8.8", 53), socket.SOCK_DGRAM),
    "six": attempt(socket.AF_INET6, ("::1", {port})),
    "abstract": attempt(socket.AF_UNIX, "\\0gristmill-sandbox-test"),
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
    "routes": len(open("/proc/net/route").readlines()) - 1,
}}))"""
        assert await findings(pool, code) == {
            "loopback": "PermissionError", "datagram": "PermissionError", "six": "PermissionError",
            "abstract": "ConnectionRefusedError", "interfaces": ["lo"], "routes": 0,
        }  # fmt: skip


async def test_host_files(pool: Pool, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("planted")
    places = [str(secret), str(tmp_path), __file__, sys.prefix, "/var/run/docker.sock", "/proc/1/fd", "/proc/kcore"]
    code = f"""
got = []
for root in ("", "/proc/1/root", "/proc/1/cwd/..", "/proc/self/root", "/proc/self/cwd/../.."):
    for place in {places}:
        for look in (os.listdir, lambda path: open(path, "rb").read(1)):
            try:
                look(root + place)
                got.append(root + place)
            except OSError:
                pass
print(json.dumps(got))"""
    assert await findings(pool, code) == []


async def test_writing_outside_tmp(pool: Pool) -> None:
    code = """
written = []
for folder, _, _ in os.walk("/"):
    if folder.startswith("/proc/") and folder.count("/") > 2:
        continue
    try:
        with open(os.path.join(folder, "planted"), "w") as file:
            file.write("x")
        written.append(folder)
    except OSError:
        pass
for path in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/usr/local/bin/python3"):
    try:
        with open(path, "r+") as file:
            file.write("1")
        written.append(path)
    except OSError:
        pass
print(json.dumps(written))"""
    assert await findings(pool, code, seconds=30) == ["/tmp"]
    await assert_untouched(pool)


async def test_environment(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", "planted-secret")
    code = """
seen = dict(os.environ)
for name in os.listdir("/proc"):
    if name.isdecimal():
        try:
            seen[name] = open(f"/proc/{name}/environ").read()
        except PermissionError:
            seen[name] = "refused"
print(json.dumps(seen))"""
    seen = await findings(pool, code)
    assert seen.pop("1") == "refused"
    assert "planted" not in str(seen).lower()
    assert set(seen) - {"LD_LIBRARY_PATH", "LC_CTYPE"} - set(map(str, range(10**5))) == {
        "HOME", "TMPDIR", "PATH", "LANG", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE",
    }  # fmt: skip


async def test_no_privilege_and_none_to_be_had(pool: Pool) -> None:
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def errno_of(result):
    return ctypes.get_errno() if result == -1 else None
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "uids": [os.getuid() > 0, os.getgid() > 0, os.getgroups() in ([], [os.getgid()])],
    "status": [status[key] for key in ("CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")],
    "unshare": errno_of(libc.unshare(0x10000000)),
    "mount": errno_of(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "ptrace": errno_of(libc.ptrace(16, 1, 0, 0)),
    "shmget": errno_of(libc.shmget(1, 4096, 0o1666)),
    "keys": errno_of(libc.syscall(248, b"user", b"k", b"v", 1, -3)),
    "bpf": errno_of(libc.syscall(321, 0, 0, 0)),
}))"""
    assert await findings(pool, code) == {
        "uids": [True, True, True], "status": ["0" * 16] * 3 + ["1", "2"],
        "unshare": 38, "mount": 38, "ptrace": 38, "shmget": 38, "keys": 38, "bpf": 38,
    }  # fmt: skip


async def test_the_first_process_is_out_of_reach(pool: Pool) -> None:
    """Its signals, memory, descriptors, limits, priority and cores; and it is the same one afterwards."""
    before = await findings(pool, f"print({CELL})")
    code = f"""
import resource, signal
got = []
def attempt(name, act):
    try:
        act()
        got.append(name)
    except OSError as error:
        pass
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
attempt("memory", lambda: open("/proc/1/mem", "r+b"))
attempt("maps", lambda: open("/proc/1/maps").read())
attempt("descriptors", lambda: os.listdir("/proc/1/fd"))
attempt("limits", lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
attempt("priority of the user", lambda: os.setpriority(os.PRIO_USER, 0, 19))
attempt("cores", lambda: os.sched_setaffinity(1, {{0}}))
attempt("scheduler", lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)))
print(json.dumps([got, {CELL}]))"""
    got, during = await findings(pool, code)
    assert got == []
    assert during == str(before) == str(await findings(pool, f"print({CELL})"))
    await assert_untouched(pool)


async def test_signals_to_everyone(pool: Pool) -> None:
    before = await findings(pool, f"print({CELL})")
    for code in ("os.kill(-1, 9)", "os.kill(os.getppid(), 9)", "os.kill(os.getppid(), 19)", "os.killpg(0, 9)"):
        run = await attack(pool, f"import os\n{code}\nprint('alive')")
        assert run.status in ("ok", "error"), run
        assert await findings(pool, f"print({CELL})") == before


FORK_BOMB = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
THREAD_BOMB = """
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(60,)).start()
    except RuntimeError:
        time.sleep(0.01)"""
DEAF = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    pass"""


STOPPED = "import os; os.kill(os.getpid(), 19)"


@pytest.mark.parametrize("code", [FORK_BOMB, THREAD_BOMB, DEAF, STOPPED], ids=["fork", "thread", "deaf", "stopped"])
async def test_what_never_ends(pool: Pool, code: str) -> None:
    started = time.monotonic()
    run = await attack(pool, code, seconds=1)
    assert run.status == "timeout" and run.exit_code is None
    assert 1 <= run.seconds <= time.monotonic() - started < 10
    await assert_untouched(pool)


MANY_HOGS = """
import os, time
for _ in range(10):
    if os.fork() == 0:
        block = bytearray(60 * 2**20)
        time.sleep(60)
time.sleep(60)"""

MANY_SHARED_HOGS = MANY_HOGS.replace("import os", "import mmap, os").replace(
    "block = bytearray(60 * 2**20)", "block = mmap.mmap(-1, 60 * 2**20); block.write(bytes(60 * 2**20))"
)


@pytest.mark.parametrize(
    "code",
    ["x = ' ' * 10**11", "x = []\nwhile True: x.append(bytearray(2**20))", MANY_HOGS, MANY_SHARED_HOGS],
    ids=["one", "slow", "many", "shared"],
)
async def test_a_memory_bomb(pool: Pool, code: str) -> None:
    run = await attack(pool, code, memory_mb=200, seconds=20)
    assert run.status == "memory", run
    await assert_untouched(pool)


async def test_a_full_disk(pool: Pool) -> None:
    code = """
written = 0
try:
    for number in range(100):
        with open(f"/tmp/{number}", "wb") as file:
            for _ in range(20):
                written += file.write(bytes(2**20))
except OSError as error:
    pass
print(json.dumps(written))"""
    assert await findings(pool, code, seconds=30) <= 70 * 2**20
    await assert_untouched(pool)


@pytest.mark.parametrize("stream", [1, 2])
async def test_huge_output(pool: Pool, stream: int) -> None:
    run = await attack(pool, f"import os\nwhile True: os.write({stream}, b'x' * 4096)", output_kb=100)
    assert run.status == "output"
    assert len(run.stdout) + len(run.stderr) == 100 * 1024
    await assert_untouched(pool)


async def test_output_within_the_limit_is_whole(pool: Pool) -> None:
    run = await attack(pool, "import sys\nprint('ä' * 50000)\nprint('b' * 50000, file=sys.stderr)")
    assert (run.stdout, run.stderr) == ("ä" * 50000 + "\n", "b" * 50000 + "\n")


LEFTOVERS = """
import os
def nest(depth):
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
nest(3000)
os.chdir("/tmp")
os.symlink("/", "root")
os.symlink("/tmp", "loop")
os.symlink("/proc/self/mem", "solution.py")
os.mkdir("closed")
open("closed/file", "w").close()
os.mkdir("closed/inner")
os.chmod("closed/inner", 0)
os.chmod("closed", 0)
os.mkfifo("pipe")
open(b"\\xff\\n", "w").close()
os.remove("main.py")
os.symlink("/usr/local/bin/python3", "main.py")
"""


async def test_what_is_left_in_the_folder(pool: Pool) -> None:
    before = await findings(pool, f"print({CELL})")
    assert (await attack(pool, LEFTOVERS)).status == "ok"
    await assert_untouched(pool)
    assert await findings(pool, f"print({CELL})") == before


DAEMON = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    else:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            time.sleep(0.01)
            open("/tmp/planted", "w").close()
time.sleep(0.2)
print("done", flush=True)
os._exit(0)"""


async def test_what_is_left_running(pool: Pool) -> None:
    run = await attack(pool, DAEMON)
    assert (run.status, run.stdout) == ("ok", "done\n"), "it waits for nothing that is left behind"
    await assert_untouched(pool)


async def test_what_outlives_a_process(pool: Pool) -> None:
    """Message queues and shared memory: the kernel would keep them for the next run."""
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
got = [path for path in ("/dev/shm/x", "/dev/mqueue/x") if os.path.isdir(os.path.dirname(path)) and not attempt(path)]
print(json.dumps([got, libc.mq_open(b"/x", 0o102, 0o600, None), libc.msgget(1, 0o1666), libc.semget(1, 1, 0o1666)]))"""
    attempt = "def attempt(path):\n    try: open(path, 'w')\n    except OSError: return True\n"
    assert await findings(pool, attempt + code) == [[], -1, -1, -1]


@pytest.mark.parametrize("engine", ENGINES)
async def test_two_at_a_time_see_nothing_of_each_other(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE, engine)
    code = """
import time
open(f"/tmp/of-{NAME}", "w").write("secret")
time.sleep(0.5)
killed = []
for process in range(2, 200):
    if process != os.getpid():
        try:
            os.kill(process, 9)
            killed.append(process)
        except OSError:
            pass
print(json.dumps([sorted(os.listdir("/tmp")), len([p for p in os.listdir("/proc") if p.isdecimal()]), killed]))"""
    with open_pool(size=2) as pool:
        both = await asyncio.gather(*(findings(pool, f"NAME = {name!r}\n{code}") for name in ("a", "b")))
    assert both == [[["main.py", f"of-{name}"], 2, []] for name in ("a", "b")]


async def test_the_hosts_processes_are_out_of_sight(pool: Pool) -> None:
    ours = {str(os.getpid()), str(threading.get_native_id())}
    seen = await findings(pool, "print(json.dumps([p for p in os.listdir('/proc') if p.isdecimal()]))")
    assert len(seen) == 2 and not ours & set(seen) - {"1", "2"}
