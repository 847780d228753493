"""Kills, faults and resumes in any order give the records of an undisturbed run, and nothing is bought twice."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill import Context, Generator, NoParams, Record, Reject, Seed
from gristmill.commands.generate import run_plan
from gristmill.errors import EndpointError, GristmillError, TaskFailed
from gristmill.llm import Reply, Role, Roles, object_shape
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import Faults, FaultServer, ScriptedModel
from schemas import JsonObject, Message, Usage, assistant, canonical_json, user
from schemas.run_config import RunConfig
from tests.conftest import CLI
from tests.runs import records_file, rows_of, run, two_calls, write

COMMAND = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml", "--quiet"]


# ---- real processes


@pytest.mark.slow
def test_killed_at_random_points_under_faults(cli: CLI, tmp_path: Path) -> None:
    """SIGKILL, at least 20 times, anywhere between the start and the export. What is asked again after each is at most
    the calls in flight and the replies of the last 10 ms."""
    rows, in_flight, kills = 90, 8, 0
    rng = random.Random(int(os.environ.get("GRISTMILL_TEST_SEED", "0")))
    faults = Faults(status_429=0.05, status_500=0.05, reset=0.02, latency=0.02)
    with FaultServer(faults) as server:
        model = {"max_in_flight": in_flight}
        write(two_calls(tmp_path, server.url, rows, model=model, max_failed=0), tmp_path / "run.yaml")
        assert cli("generate", "run.yaml", "--run", "undisturbed").returncode == 0
        undisturbed = Counter(server.answered)
        server.answered.clear()
        for _ in range(100):
            process = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.DEVNULL)
            before, stop_at = server.requests, rng.randint(0, 12 if kills < 20 else 1000)
            while process.poll() is None and server.requests - before < stop_at:
                time.sleep(0.002)
            if process.poll() is None:
                time.sleep(rng.random() * 0.03)
                process.kill()
                kills += 1
            if process.wait() == 0:
                break
            bought_twice = server.answered.total() - len(server.answered)
            assert bought_twice <= kills * 2 * in_flight
    assert process.returncode == 0 and kills >= 20
    assert server.answered.keys() == undisturbed.keys(), "the same questions in the end"
    assert records_file(tmp_path / "runs/run") == records_file(tmp_path / "undisturbed")
    one, other = (orjson.loads((tmp_path / name / "summary.json").read_bytes()) for name in ("undisturbed", "runs/run"))
    for key in (
        "tasks",
        "accepted",
        "rejected",
        "failed",
        "records",
        "by_reason",
        "calls",
        "tokens",
        "usd",
        "diversity",
    ):
        assert one[key] == other[key], key
    calls = rows_of(tmp_path / "runs/run", "calls.parquet")
    assert len(calls) == len({(row["task_id"], row["key"]) for row in calls}) == 2 * rows


def test_killed_while_it_ends(cli: CLI, tmp_path: Path) -> None:
    """In the export, that is: files are whole or absent, and the same command ends it."""
    with FaultServer() as server:
        write(two_calls(tmp_path, server.url, 300), tmp_path / "run.yaml")
        for pause in (0.0, 0.01, 0.03, 0.06):
            process = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.DEVNULL)
            while process.poll() is None and server.requests < 600:
                time.sleep(0.002)
            time.sleep(pause)
            process.kill()
            process.wait()
        assert cli("generate", "run.yaml").returncode == 0
        told = cli("query", "runs/run", "SELECT count(*) AS n FROM records", "--format", "json")
        assert orjson.loads(told.stdout) == [{"n": 300}] and server.requests <= 600 + 64
    assert not list((tmp_path / "runs/run").glob(".*.new"))


def test_a_second_process_on_one_folder_is_refused_and_harmless(cli: CLI, tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Gated(FaultServer):
        async def _chat(self, request: web.Request) -> web.StreamResponse:
            self.met["asked"] += 1
            await gate.wait()
            return await super()._chat(request)

    with Gated() as server:
        write(two_calls(tmp_path, server.url, 40), tmp_path / "run.yaml")
        process = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while process.poll() is None and server.met["asked"] == 0:
            time.sleep(0.01)
        second = cli("generate", "run.yaml")
        server._loop.call_soon_threadsafe(gate.set)
        assert second.returncode == 1 and second.stderr.count("\n") == 1
        assert "runs/run is in use by another process" in second.stderr
        assert process.wait(60) == 0 and server.requests == 80


def test_down_at_the_start_then_up_and_down_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start it is said soon (within ten seconds, see test_cli); in the middle it is waited for."""
    monkeypatch.setattr("gristmill.llm.pool.START_SECONDS", 1.0)
    with FaultServer(Faults(latency=0.03)) as server:
        server.down()
        config = two_calls(tmp_path, server.url, 60, model={"max_in_flight": 8})
        with pytest.raises(EndpointError, match=r"can't be reached: no connection .*refused.*, tried for \d+ s"):
            run(config, tmp_path / "run")
        server.up()
        write(config, tmp_path / "run.yaml")
        process = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while process.poll() is None and server.requests < 30:
            time.sleep(0.005)
        server.down()
        time.sleep(1.5)
        assert process.poll() is None, "it waits"
        server.up()
        assert process.wait(60) == 0
        assert server.requests <= 120 + 8 + 5  # those that were out, and the probes
    summary = orjson.loads((tmp_path / "runs/run/summary.json").read_bytes())
    assert (summary["accepted"], summary["failed"]) == (60, 0)


def test_every_row_comes_out_of_every_fault_at_no_extra_cost(tmp_path: Path) -> None:
    faults = Faults(status_429=0.05, status_500=0.05, reset=0.02, malformed=0.05, latency=0.01)
    with FaultServer(faults) as server:
        summary = run(two_calls(tmp_path, server.url, 200, model={"max_in_flight": 32}), tmp_path / "run")
        assert summary["accepted"] == 200 and set(server.met) == {"status_429", "status_500", "reset", "malformed"}
        assert server.requests == 400 + server.met.total(), "one more request for each fault that was met"
        assert set(server.answered.values()) == {1}, "nothing that was answered well is asked again"
        assert summary["calls"] == 400 + server.met["malformed"], "what was malformed was paid for, too"


def test_one_slow_task_holds_up_nobody(tmp_path: Path) -> None:
    """Its first answer takes longer than all the rest: 99 others end before, and the order of records is kept."""

    class SlowFirst(FaultServer):
        def _draw(self, digest: str, attempt: int) -> str | None:
            return "slow" if self.requests == 1 else None

    with SlowFirst(Faults(latency=0.005, slow_latency=3.0)) as server:
        run(two_calls(tmp_path, server.url, 100, model={"max_in_flight": 4}), tmp_path / "run")
    ended = [orjson.loads(line)["position"] for line in (tmp_path / "run/log.jsonl").read_bytes().splitlines()]
    assert sorted(ended) == list(range(100)) and len(ended[: ended.index(0)]) >= 95
    first = rows_of(tmp_path / "run")[0]
    assert first["messages"][1]["content"] == "fact 0"


# ---- in one process, with the ledger's files as a kill would leave them


class Number(Seed):
    n: int


SHAPE = object_shape("doubt", {"sure": {"type": "boolean"}})


class Branching(Generator[Number, NoParams]):
    """Equal questions in branches and one after another, structured answers, losses, and the rng."""

    name = "branching"
    tasks_made = 12

    def tasks(self) -> Any:
        return (Number(n=n) for n in range(self.tasks_made))

    async def run(self, seed: Number, ctx: Context) -> Record:
        async def branch(depth: int) -> str:
            first = await ctx.chat("solver", [user(f"{seed.n}?")])
            if depth and ctx.rng.random() < 0.7:
                return first.text + "".join(await ctx.gather(branch(depth - 1), branch(depth - 1)))
            again = await ctx.chat("solver", [user(f"{seed.n}?")])
            return f"{first.text}{again.text}{ctx.rng.randrange(100)}"

        answers = await ctx.gather((branch(1) for _ in range(2)), keep_rejects=True)
        sure = await ctx.answer("judge", [user(f"sure of {answers}?")], SHAPE)
        if seed.n % 5 == 3:
            raise Reject("generate", "unlucky")
        last = await ctx.gather(branch(0))
        text = f"{[str(answer) for answer in answers]} {last} {sure}"
        return Record(messages=[user(str(seed.n)), assistant(text)])


def plan(folder: Path) -> Plan:
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m", "max_in_flight": 6}}
    config = RunConfig.model_validate({"generator": "branching", "models": models, "max_failed": 1})
    return Plan(config, Branching(NoParams()), [], Roles(config.models), "fingerprint")


class Killed(GristmillError):
    """Ends a session as a SIGKILL does."""


class Deterministic:
    """A model whose answer depends on the request alone; it comes after a random time, so in any order.

    One in eight structured answers is no JSON, one in twenty texts is empty. The `after`th call copies the ledger's
    files as they are to `copy`, and ends the session.
    """

    resting = 0

    def __init__(self, order: random.Random, copy: Path | None = None, after: int = 10**9) -> None:
        self.order, self.copy, self.left = order, copy, after
        self.sent: Counter[str] = Counter()
        self.folder: Path | None = None

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        self.left -= 1
        for _ in range(self.order.randrange(6)):
            await asyncio.sleep(0)
        if self.order.random() < 0.1:
            await asyncio.sleep(self.order.random() * 0.004)
        if self.left <= 0:
            self._kill()
        digest = sha256(canonical_json(request)).hexdigest()
        self.sent[digest] += 1
        rng = random.Random(digest)
        if "response_format" in request:
            content = '{"sure": true}' if rng.random() > 0.125 else "I am {sure}"
        else:
            content = f"<{digest[:6]}>" if rng.random() > 0.05 else ""
        return Reply(Message(role="assistant", content=content), "stop", Usage(input=3, output=2), "m")

    def _kill(self) -> None:
        """What is still asked after the copy was made belongs to no session."""
        assert self.copy and self.folder
        if not self.copy.exists():
            self.copy.mkdir()
            for name in ("ledger.sqlite", "ledger.sqlite-wal"):
                if (self.folder / name).is_file():
                    shutil.copy(self.folder / name, self.copy / name)
        raise Killed("killed on purpose")

    async def close(self) -> None:
        return None


def session(folder: Path, model: Deterministic) -> dict[str, Any] | None:
    """The summary, or None where it was killed (what its process still wrote then is not in `model.copy`)."""
    model.folder = folder
    try:
        return run_plan(plan(folder), RunFolder(folder), transport=model, quiet=True)
    except Killed:
        return None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    model = Deterministic(random.Random(0))
    summary = session(folder, model)
    assert summary is not None and summary["tasks"] == Branching.tasks_made and summary["rejected"] > 0
    return records_file(folder), model.sent.total()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, 60), max_size=5), seed=st.integers(0, 2**16))
def test_any_interleaving_of_kills_and_resumes_gives_the_same_records(
    undisturbed: tuple[bytes, int], kills: list[int], seed: int
) -> None:
    """Under shuffled completion orders of the branches of `ctx.gather`, each session's another one."""
    records, calls = undisturbed
    order = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder, sent, spare = Path(temporary) / "0", 0, 0
        folder.mkdir()
        for number, after in enumerate(kills, start=1):
            model = Deterministic(order, Path(temporary) / str(number), after)
            killed = session(folder, model) is None
            sent += model.sent.total()
            if killed:
                folder = Path(temporary) / str(number)
                spare += 2 * 6 * 4  # tasks in flight, with up to four branches each
        last = Deterministic(order)
        summary = session(folder, last)
        assert summary is not None and records_file(folder) == records
        assert summary["calls"] == calls, "nothing is doubled or lost in the ledger"
        assert sent + last.sent.total() <= calls + spare
        again = Deterministic(order)
        session(folder, again)
        assert again.sent.total() == 0


# ---- what ends a run is one sentence


def test_a_log_that_cannot_be_written_stops_the_run_with_a_sentence(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        write(two_calls(tmp_path, server.url, 10), tmp_path / "run.yaml")
        (tmp_path / "runs/run").mkdir(parents=True)
        (tmp_path / "runs/run/.lock").touch()  # as a run that was stopped at once leaves it
        (tmp_path / "runs/run/log.jsonl").symlink_to("/dev/full")
        done = cli("generate", "run.yaml")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "no space left on device: runs/run/log.jsonl" in done.stderr
        (tmp_path / "runs/run/log.jsonl").unlink()
        assert cli("generate", "run.yaml").returncode == 0 and server.requests <= 20 + 20
        assert len(rows_of(tmp_path / "runs/run")) == 10


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("", "can't prepare: llm: no_answer"),
        (TaskFailed("llm", "status 400: odd"), "can't prepare: llm: status 400: odd"),
        ("fine", "ZeroDivisionError: integer division or modulo by zero (test_durable.py:"),
    ],
)
def test_a_preparation_that_fails_stops_the_run_with_a_sentence(tmp_path: Path, answer: Any, sentence: str) -> None:
    class Preparing(Branching):
        async def prepare(self, ctx: Context) -> None:
            await ctx.chat("writer", [user("domains, please")])
            _ = 1 // 0

    made = plan(tmp_path)
    made = Plan(made.config, Preparing(NoParams()), [], made.roles, "f")
    with pytest.raises(GristmillError) as stopped:
        run_plan(made, RunFolder(tmp_path), transport=ScriptedModel(lambda role, asked: answer), quiet=True)
    assert sentence in str(stopped.value) and stopped.value.exit_status == 1
