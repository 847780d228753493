"""Cells that die, owners that are killed, engines that are missing, and what cells are made of."""

import asyncio
import hashlib
import io
import os
import platform
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gristmill.errors import ConfigError, GristmillError, TaskFailed
from gristmill.sandbox import Run, SandboxLimits, Snippet, cells, engines, local_python
from gristmill.sandbox.bubblewrap import BubblewrapCell
from gristmill.sandbox.cells import Cell, CellDied
from gristmill.sandbox.engines import CHOICE, survey
from gristmill.sandbox.pool import Pool, open_pool
from gristmill.sandbox.seccomp import CALLS, filter_program
from tests.conftest import CLI, ENGINES

# ---- cells that die


class Mortal(Cell):
    """A cell whose every run ends as the script says: a Run, or an exception."""

    engine = "mortal"

    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self.killed = False

    def start(self) -> None:
        if self.script and self.script[0] == "no start":
            raise CellDied("no room")

    def run(self, snippet: Snippet) -> Run:
        outcome = self.script.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return Run(status=outcome, engine=self.engine)

    def _open(self) -> None: ...

    def _write(self, data: bytes) -> None: ...

    def _read(self, size: int, seconds: float) -> bytes:
        return b""

    def kill(self) -> None:
        self.killed = True


def mortal_pool(script: list[Any]) -> tuple[Pool, list[Mortal]]:
    made: list[Mortal] = []

    def make() -> Mortal:
        made.append(Mortal(script))
        return made[-1]

    return Pool(make, 1), made


@pytest.mark.parametrize(
    ("script", "statuses", "cells"),
    [
        (["ok", "error", "ok"], ["ok", "error", "ok"], 1),
        (["timeout", "ok"], ["timeout", "ok"], 2),
        ([CellDied("gone"), "ok", "ok"], ["ok", "ok"], 2),
        ([CellDied("gone"), CellDied("gone again"), "ok"], ["killed", "ok"], 3),
    ],
)
async def test_a_cell_is_kept_or_replaced(script: list[Any], statuses: list[str], cells: int) -> None:
    pool, made = mortal_pool(script)
    assert [(await pool.run(Snippet(code=""))).status for _ in statuses] == statuses
    assert len(made) == cells and [cell.killed for cell in made] == [True] * (cells - 1) + [False]
    pool.close()
    assert made[-1].killed


async def test_a_cell_that_cannot_start_fails_the_task_and_leaves_its_place() -> None:
    pool, made = mortal_pool(["no start"])
    for _ in range(2):
        with pytest.raises(TaskFailed, match="no cell can be started: no room"):
            await pool.run(Snippet(code=""))
    made[0].script[:] = ["ok"]
    assert (await pool.run(Snippet(code=""))).status == "ok"
    pool.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_closing_ends_what_runs(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE, engine)
    with open_pool(size=1) as pool:
        runs = [asyncio.create_task(pool.run(Snippet(code="import time; time.sleep(60)"))) for _ in range(3)]
        await asyncio.sleep(0.3)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert all(isinstance(result, TaskFailed | asyncio.CancelledError) for result in results), results


OWNER = """
import asyncio, sys
from gristmill.sandbox.pool import open_pool
from gristmill.sandbox import Snippet

async def main():
    with open_pool(size=1) as pool:
        print("ready", flush=True)
        await pool.run(Snippet(code="import time; time.sleep(200)", limits={"seconds": 250}))

asyncio.run(main())
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_owner_leaves_nothing(engine: str, tmp_path: Path) -> None:
    """SIGKILL while a snippet runs: the cell ends by itself."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env={**os.environ, CHOICE: engine}
    )
    assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
    time.sleep(0.3)
    left = _cells_of(engine, owner.pid)
    assert len(left()) >= 1
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + 20
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left() == []


def _cells_of(engine: str, pid: int) -> Callable[[], list[str]]:
    """What lists the containers, or the processes, that belong to a process."""
    if engine == "docker":
        from gristmill.sandbox import docker

        api = docker.connect().api
        filters = {"label": docker.OWNER}
        return lambda: [
            found["Id"]
            for found in api.containers(all=True, filters=filters)
            if f"/{pid}/" in found["Labels"][docker.OWNER]
        ]
    family = _descendants(pid)
    return lambda: [member for member in family if Path("/proc", member).exists()]


def _descendants(pid: int) -> list[str]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            parents[stat.parent.name] = stat.read_text().rpartition(")")[2].split()[1]
    family = [str(pid)]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family[1:]


@pytest.mark.docker
def test_the_next_start_sweeps_what_was_never_started() -> None:
    from gristmill.sandbox import docker, image

    client = docker.connect()
    host, pid, started = docker.owner_label().rsplit("/", 2)
    ghosts = {f"{host}/{pid}/1": True, f"{host}/999999999/{started}": True, f"{host}/{pid}/{started}": False,
              f"elsewhere/999999999/{started}": False}  # fmt: skip
    made = {}
    for label in ghosts:
        made[label] = client.api.create_container(image.obtain(client), ["true"], labels={docker.OWNER: label})["Id"]
    try:
        assert docker.sweep(client) >= 2
        there = {found["Id"] for found in client.api.containers(all=True)}
        assert {label: container not in there for label, container in made.items()} == ghosts
    finally:
        for container in made.values():
            docker.remove(client.api, container)
        client.close()


# ---- engines that are missing


def test_without_any_engine_code_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CHOICE, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GristmillError, match=r"and there is none here: .*; bubblewrap is not installed"):
        open_pool().__enter__()
    found, detail = survey()
    assert not found and "apt-get install bubblewrap" in detail


@pytest.mark.bubblewrap
def test_the_weaker_one_says_so_and_how_to_get_the_better(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CHOICE, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    found, detail = survey()
    assert found and detail.startswith("bubblewrap, the weaker one; the stronger one is missing:")
    monkeypatch.setenv(CHOICE, "docker")
    assert survey()[0] is False


def test_a_missing_package_or_daemon_is_named_with_its_remedy(
    cli: CLI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CHOICE, "docker")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert survey() == (
        False,
        "no code can be run: Docker's Python package is not installed: pip install 'gristmill[sandbox]'",
    )
    done = cli("sandbox", "build", env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "start one, or name one by DOCKER_HOST" in done.stderr or "pip install 'gristmill[sandbox]'" in done.stderr


@pytest.mark.docker
def test_the_pulled_image_comes_before_the_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.sandbox import docker, image

    client = docker.connect()
    try:
        local = image.obtain(client) if image.find(client) == image.LOCAL else image.import_local(client)
        monkeypatch.setattr(image, "PULLED", "gristmill-test:pulled")
        assert image.find(client) == local
        client.images.get(local).tag("gristmill-test", "pulled")
        assert image.find(client) == "gristmill-test:pulled"
    finally:
        client.images.remove("gristmill-test:pulled", force=True)
        client.close()


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE, "chroot")
    with pytest.raises(ConfigError, match="GRISTMILL_SANDBOX=chroot: docker or bubblewrap is expected"):
        survey()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_filter_that_does_not_suit_the_machine_is_found_out_at_the_start(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every snippet would end in the same error, and every record would be rejected for it."""
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    monkeypatch.setattr(cells, "filter_program", lambda: filter_program(other))
    monkeypatch.setenv(CHOICE, engine)
    with pytest.raises(GristmillError, match="a first snippet ended with error, exit code -31"):
        open_pool().__enter__()


@pytest.mark.bubblewrap
def test_a_bubblewrap_that_fails_gives_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cell = BubblewrapCell()
    with pytest.raises(CellDied, match="No permissions to create new namespace"):
        cell.start()
    cell.kill()


@pytest.fixture
def readable_python() -> Iterator[Path]:
    """A copy of the running Python that everyone may read."""
    image = pytest.importorskip("gristmill.sandbox.image", reason="the extra sandbox is not installed")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, tempfile.TemporaryFile() as archive:
        image.write_archive(archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as opened:
            opened.extractall(folder, filter="tar")
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.bubblewrap
@pytest.mark.skipif(os.getuid() != 0, reason="without root, all tests of bubblewrap are this one")
def test_bubblewrap_without_root(readable_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a user namespace: the way of everyone who isn't root."""
    at = {path: readable_python / path.relative_to("/") for path in local_python.libraries()}
    monkeypatch.setattr(local_python, "libraries", lambda: at)
    monkeypatch.setattr(local_python, "stdlib", lambda: readable_python / local_python.STDLIB.relative_to("/"))
    monkeypatch.setattr(
        local_python, "interpreter", lambda: readable_python / local_python.INTERPRETER.relative_to("/")
    )
    nobody = partial(subprocess.Popen, user=65534, group=65534, extra_groups=[])
    monkeypatch.setattr(subprocess, "Popen", nobody)
    monkeypatch.setattr(os, "getuid", lambda: 65534)
    cell = BubblewrapCell()
    try:
        cell.start()
        status = cell.run(Snippet(code="print(open('/proc/self/status').read())")).stdout
        for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status
        written = "for name in ('/x', '/dev/x', '/usr/x', '/tmp/x', '/proc/1/oom_score_adj'):\n" \
                  "    try: print(open(name, 'w').name)\n    except OSError: pass"  # fmt: skip
        assert cell.run(Snippet(code=written)).stdout == "/tmp/x\n"
        bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
        assert cell.run(Snippet(code=bomb, limits=SandboxLimits(seconds=1))).status == "timeout"
        left = "import os\nprint(os.listdir(), sum(name.isdecimal() for name in os.listdir('/proc')))"
        assert cell.run(Snippet(code=left)).stdout == "['main.py'] 2\n"
    finally:
        cell.kill()


def test_the_filter_knows_its_architecture() -> None:
    assert filter_program("x86_64") != filter_program("aarch64")
    for machine, column in (("x86_64", 0), ("aarch64", 1)):
        program = filter_program(machine)
        instructions = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
        numbers = [number for columns in CALLS.values() if (number := columns[column]) is not None]
        assert len(numbers) == len(set(numbers)) > 150
        assert len(instructions) < 4096 and instructions[-1] == (0x06, 0, 0, 0x00050000 | 38)
    assert filter_program("arm64") == filter_program("aarch64")
    with pytest.raises(GristmillError, match="no system-call filter for riscv64"):
        filter_program("riscv64")


@pytest.mark.docker
def test_the_image_of_the_running_python(cli: CLI) -> None:
    from gristmill.sandbox import docker, image

    for _ in range(2):
        done = cli("sandbox", "build", "--local")
        assert done.returncode == 0 and image.LOCAL in done.stdout, done.stderr
    client = docker.connect()
    labels = client.images.get(image.LOCAL).labels
    ours = client.images.list(filters={"label": image.BUILT_FROM})
    client.close()
    assert len(ours) == 1, "the one that was replaced is still there"
    assert labels == {image.BUILT_FROM: f"CPython {sys.version.split()[0]} of this machine"}


def test_the_archive_is_reproducible_and_holds_nothing_installed() -> None:
    image = pytest.importorskip("gristmill.sandbox.image", reason="the extra sandbox is not installed")
    archives = [io.BytesIO(), io.BytesIO()]
    for archive in archives:
        image.write_archive(archive)
    assert len({hashlib.sha256(archive.getvalue()).hexdigest() for archive in archives}) == 1
    archives[0].seek(0)
    with tarfile.open(fileobj=archives[0]) as opened:
        names = opened.getnames()
    assert "usr/local/bin/python3" in names
    assert not [name for name in names if "site-packages" in name or "pydantic" in name or name.startswith("root")]
