"""What a run in the sandbox gives, and that the ledger keeps it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gristmill import Context, Generator, Record
from gristmill.api import NoParams
from gristmill.commands.generate import run_plan
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.sandbox import Snippet
from gristmill.sandbox.engines import CHOICE
from gristmill.sandbox.pool import Pool
from gristmill.testing import ScriptedModel
from schemas import Seed, assistant, user
from schemas.run_config import RunConfig
from tests.conftest import ENGINES


async def test_a_program_with_files_and_input(pool: Pool) -> None:
    code = "import helper, sys\nprint(helper.double(int(input())), open('data/rows.txt').read())\nsys.exit(3)"
    files = {"helper.py": "def double(n): return 2 * n", "data/rows.txt": "a\r\nb"}
    run = await pool.run(Snippet(code=code, files=files, stdin="21\n"))
    assert (run.status, run.exit_code, run.stdout, run.stderr) == ("error", 3, "42 a\nb\n", "")
    assert 0 < run.seconds < 5


async def test_what_a_program_may_use(pool: Pool) -> None:
    """The standard library of ordinary programs works under the filter of system calls."""
    code = """
import asyncio, concurrent.futures, decimal, hashlib, mmap, os, random, re, sqlite3, statistics, subprocess, sys
import tempfile, threading, time, zlib
async def later():
    await asyncio.sleep(0.01)
    return 7
assert asyncio.run(later()) == 7
with concurrent.futures.ThreadPoolExecutor(4) as threads:
    assert sum(threads.map(abs, range(-4, 0))) == 10
assert subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, text=True).stdout == "5\\n"
with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "x"), "w+b") as file:
    file.write(b"x" * 5000)
    file.flush()
    assert mmap.mmap(file.fileno(), 0)[4999] == 120
assert sqlite3.connect(":memory:").execute("SELECT 1 + 1").fetchone() == (2,)
assert len(hashlib.sha256(random.randbytes(9)).digest()) == 32
print(hash("always the same"))
"""
    runs = [await pool.run(Snippet(code=code)) for _ in range(2)]
    assert [run.status for run in runs] == ["ok", "ok"], runs
    assert runs[0].stdout == runs[1].stdout


@pytest.mark.parametrize(
    ("code", "status", "exit_code", "complaint"),
    [
        ("raise ValueError('no')", "error", 1, "ValueError: no"),
        ("import os; os.kill(os.getpid(), 11)", "error", -11, ""),
        ("def f(:", "error", 1, "SyntaxError: invalid syntax"),
        ("f = lambda n: f(n + 1)\nf(0)", "error", 1, "RecursionError: maximum recursion depth exceeded"),
        ("x = [0] * 10**9", "memory", 1, "MemoryError"),
        ("", "ok", 0, ""),
    ],
)
async def test_how_programs_end(pool: Pool, code: str, status: str, exit_code: int, complaint: str) -> None:
    run = await pool.run(Snippet(code=code))
    assert (run.status, run.exit_code, run.complaint()) == (status, exit_code, complaint)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "", ".", "main.py", "a\0b"])
def test_a_file_that_lies_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no name for a file"):
        Snippet(code="", files={name: ""})


class Number(Seed):
    n: int


class Clocks(Generator[Number, NoParams]):
    """Programs whose output is another one each time, in branches and one after the other."""

    name = "clocks"

    def tasks(self) -> Iterator[Number]:
        return (Number(n=n) for n in range(4))

    async def run(self, seed: Number, ctx: Context) -> Record:
        code = "import time; print(time.time_ns())"
        runs = await ctx.gather(ctx.sandbox.run(code) for _ in range(3))
        runs += [await ctx.sandbox.run(code), await ctx.sandbox.run(code)]
        assert len({run.stdout for run in runs}) == 5, "a run was answered by another one"
        return Record(messages=[user(str(seed.n)), assistant("".join(run.stdout for run in runs))])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_generators_runs_are_replayed(tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outputs(fingerprint: str) -> Any:
        config = RunConfig(generator="clocks")
        plan = Plan(config, Clocks(NoParams()), [], Roles({}), fingerprint)
        run_plan(plan, RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)
        return pq.read_table(tmp_path / "records").column("messages").to_pylist()

    monkeypatch.setenv(CHOICE, engine)
    first = outputs("first")
    monkeypatch.setenv(CHOICE, "docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert len(first) == 4 and outputs("second") == first
