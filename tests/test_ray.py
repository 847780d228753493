"""Scale-out: a run on the workers of a Ray cluster is the same run."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from gristmill import Context, NoParams, Record, Verdict
from gristmill.commands.generate import run_plan
from gristmill.errors import BudgetReached, ConfigError, EndpointError, GristmillError
from gristmill.judging import NamedJudge
from gristmill.ledger import Ledger
from gristmill.ledger_file import Call
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import Faults, FaultServer
from schemas import assistant, user
from schemas.run_config import ExecutorConfig, RunConfig
from tests.conftest import CLI, ROOT
from tests.test_cli import ROWS, write_config
from tests.test_engine import Number, OddOut, Votes, records_of

pytestmark = pytest.mark.ray

KEY = "GRISTMILL_TEST_KEY"
TASKS = 30
CALLS = 8 * (TASKS - 4 - 3) + 28  # tasks 3, 10, 17, 24 are unlucky and 5, 16, 27 break; 28 records are judged


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two CPUs. This process is connected to it as well, which saves its runs from doing
    so each time; commands that are run connect by themselves."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(ROOT), **{KEY: "sk-wrong"})
    ray: Any = import_module("ray")
    node = {"num_cpus": 2, "object_store_memory": 100_000_000, "include_dashboard": False}
    machines: Any = import_module("ray.cluster_utils").Cluster(initialize_head=True, head_node_args=node)
    ray.init(machines.address, log_to_driver=False, logging_level=logging.ERROR)
    yield machines.address
    ray.shutdown()
    machines.shutdown()


class Deadly(Votes):
    """Kills its worker: once, where `seeds` names a folder, and else whenever it comes to the task."""

    async def run(self, seed: Number, ctx: Context) -> Record | list[Record]:
        if seed.n == 9:
            once = Path(self.seeds or "") / "killed"
            if not self.seeds or not once.exists():
                await ctx.chat("solver", [user("the last words")])
                if self.seeds:
                    once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return await super().run(seed, ctx)


def plan(url: str, address: str = "", kind: type[Votes] = Votes, seeds: str | None = None, **config: Any) -> Plan:
    executor = {"kind": "ray", "address": address, "workers": 2} if address else {}
    model = {"endpoint": url, "model": "m", "price": {"input": 1, "output": 1}, "max_in_flight": 8}
    content = {"generator": "votes", "tasks": TASKS, "max_failed": 1, "executor": executor}
    run_config = RunConfig.model_validate({**content, "models": {"default": model}, **config})
    generator = kind(NoParams(), seed=run_config.seed, seeds=seeds)
    judges = [NamedJudge("odd_out", OddOut(NoParams()))]
    return Plan(run_config, generator, judges, Roles(run_config.models), "fingerprint")


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    return run_plan(plan, RunFolder(folder), quiet=True)


def rejects_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "rejects").to_pylist()
    return rows


def test_the_records_are_those_of_a_run_here(cluster: str, tmp_path: Path) -> None:
    with FaultServer(Faults(status_500=0.05, reset=0.03)) as server:
        here = run(plan(server.url), tmp_path / "here")
        asked = server.answered.total()
        there = run(plan(server.url, cluster), tmp_path / "there")
        assert server.answered.total() == 2 * asked == 2 * CALLS
    for part in ("records", "rejects"):
        one, two = ((tmp_path / name / part / "part-00000.parquet").read_bytes() for name in ("here", "there"))
        assert one == two, part
    for figure in ("tasks", "accepted", "rejected", "failed", "calls", "tokens", "by_reason"):
        assert here[figure] == there[figure], figure
    assert here["usd"] == pytest.approx(there["usd"])
    lines = [orjson.loads(line) for line in (tmp_path / "there/log.jsonl").read_bytes().splitlines()]
    assert len(lines) == TASKS and sum(line["calls"] for line in lines) == CALLS


@pytest.mark.parametrize("ray_first", [True, False])
def test_a_run_goes_on_with_another_executor(cluster: str, tmp_path: Path, ray_first: bool) -> None:
    with FaultServer() as server:
        first, second = (cluster, "") if ray_first else ("", cluster)
        with pytest.raises(BudgetReached, match="the budget is used up"):
            run(plan(server.url, first, budget={"tokens": 3000}), tmp_path)
        paid = server.answered.total()
        assert 0 < paid < CALLS
        summary = run(plan(server.url, second), tmp_path)
        assert server.answered.total() == CALLS == summary["calls"], "a call was paid twice"
        run(plan(server.url), tmp_path / "at once")
    assert records_of(tmp_path) == records_of(tmp_path / "at once")


def test_the_budget_and_the_samples_hold(cluster: str, tmp_path: Path) -> None:
    with FaultServer() as server:
        with pytest.raises(BudgetReached):
            run(plan(server.url, cluster, budget={"usd": 0.003}), tmp_path / "budget")
        summary = orjson.loads((tmp_path / "budget/summary.json").read_bytes())
        assert 0.0015 < summary["usd"] <= 0.003
        for name, address in (("here", ""), ("there", cluster)):
            assert run(plan(server.url, address, tasks=None, samples=10), tmp_path / name)["records"] == 10
    assert records_of(tmp_path / "here") == records_of(tmp_path / "there")


def test_another_run_s_replies_reach_the_workers(cluster: str, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared.sqlite")
    with FaultServer() as server:
        run(plan(server.url, ledger=shared), tmp_path / "one")
        summary = run(plan(server.url, cluster, ledger=shared), tmp_path / "two")
        assert server.answered.total() == CALLS == summary["calls_reused"]
    calls = calls_of(tmp_path / "two")
    assert len(calls) == CALLS and not any(call.paid for call in calls)


class Briefed(OddOut):
    """Asks once before the run, and judges by the answer."""

    async def prepare(self, ctx: Context) -> None:
        self.word = (await ctx.chat("judge", [user("What counts?")])).text

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        return Verdict(name=self.name, passed=True, reason=self.word)


def test_judges_prepare_on_the_workers_from_what_was_paid_for(cluster: str, tmp_path: Path) -> None:
    with FaultServer() as server:
        for name, address in (("here", ""), ("there", cluster)):
            made = plan(server.url, address, tasks=8)
            judges = [NamedJudge("odd_out", Briefed(NoParams()))]
            before = server.answered.total()
            run(Plan(made.config, made.generator, judges, made.roles, "f"), tmp_path / name)
            assert server.answered.total() - before == 8 * 6 + 1, "7 tasks of 8 calls, less one that is unlucky"
    assert records_of(tmp_path / "here") == records_of(tmp_path / "there")
    assert all(row["verdicts"][0]["reason"] for row in records_of(tmp_path / "there"))


def test_a_killed_worker_s_jobs_are_taken_over(cluster: str, tmp_path: Path) -> None:
    with FaultServer(Faults(latency=0.02)) as server:
        summary = run(plan(server.url, cluster, Deadly, str(tmp_path)), tmp_path / "there")
        assert (tmp_path / "killed").exists()
        assert summary["calls"] == CALLS + 1
        assert server.answered.total() <= CALLS + 1 + 4 + 10  # in flight there, and not yet handed over
        run(plan(server.url, "", Deadly, str(tmp_path)), tmp_path / "here")
    assert records_of(tmp_path / "here") == records_of(tmp_path / "there")


def test_a_task_that_kills_its_workers_is_failed_and_the_others_are_not(cluster: str, tmp_path: Path) -> None:
    with FaultServer() as server:
        run(plan(server.url), tmp_path / "here")
        run(plan(server.url, cluster, Deadly), tmp_path / "there")
    here, there = (
        {row["task_id"]: (row["stage"], row["detail"]) for row in rejects_of(tmp_path / n)} for n in ("here", "there")
    )
    (deadly,) = set(there.items()) - set(here.items())
    assert deadly[1] == ("worker", "3 workers died, one after the other, while they ran this task")


def test_an_error_on_a_worker_stops_the_run_with_the_same_sentence(cluster: str, tmp_path: Path) -> None:
    with FaultServer(api_key="sk-right") as server:
        keyed = {"default": {"endpoint": server.url, "model": "m", "api_key_env": KEY}}
        for name, address in (("here", ""), ("there", cluster)):
            with pytest.raises(ConfigError) as refused:
                run(plan(server.url, address, models=keyed), tmp_path / name)
            assert str(refused.value) == f"{server.url} refuses the key in ${KEY}: status 401."


def test_an_endpoint_that_goes_away_stops_the_run(cluster: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(FaultServer(Faults(latency=0.05)))

        def leave() -> None:
            while server.requests < 40:
                time.sleep(0.01)
            stack.close()

        Thread(target=leave, daemon=True).start()
        with pytest.raises(EndpointError, match=rf"{server.url} can't be reached: .* repeat the command"):
            run(plan(server.url, cluster, patience=1), tmp_path)
    assert len(calls_of(tmp_path)) >= 30


def test_an_unset_key_and_other_code_on_a_worker_are_config_errors(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLY_HERE", "sk-only-here")  # the cluster was started without it
    keyed = {"default": {"endpoint": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "ONLY_HERE"}}
    with pytest.raises(ConfigError, match="the environment variable ONLY_HERE is not set"):
        run(plan("", cluster, models=keyed), tmp_path / "key")
    monkeypatch.setattr("gristmill.scaleout.cluster.code_digest", lambda *_: "another version's")
    with pytest.raises(ConfigError, match="has other code of Gristmill"):
        run(plan("http://127.0.0.1:9/v1", cluster), tmp_path / "code")


class Prepared(Votes):
    """Its tasks need what `prepare` made, and a resource that leaves its traces in the folder named by `seeds`."""

    async def prepare(self, ctx: Context) -> None:
        reply = await ctx.chat("solver", [user("make something")])
        (ctx.artifacts / "deep").mkdir(exist_ok=True)
        (ctx.artifacts / "deep/made").write_text(reply.text)

    async def run(self, seed: Number, ctx: Context) -> Record:
        traces = await ctx.resource(tracing, self.seeds)
        (traces / f"{seed.n}.{os.getpid()}.used").write_text(str(ctx.artifacts))
        return Record(messages=[user(str(seed.n)), assistant((ctx.artifacts / "deep/made").read_text())])


@contextmanager
def tracing(folder: str) -> Iterator[Path]:
    (Path(folder) / f"{os.getpid()}.started").touch()
    yield Path(folder)
    (Path(folder) / f"{os.getpid()}.stopped").touch()


@pytest.mark.parametrize("shipped", [True, False])
def test_artifacts_and_resources_on_workers(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: bool
) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    if shipped:  # as if a worker saw no such folder
        monkeypatch.setattr("gristmill.scaleout.connection.listing", lambda folder: "what is here")
    with FaultServer() as server:
        run(plan(server.url, cluster, Prepared, str(traces)), tmp_path / "run")
        assert server.answered.total() == 1 + TASKS  # prepared once, and judged
    made = (tmp_path / "run/artifacts/deep/made").read_text()
    records = records_of(tmp_path / "run")
    assert made and records and all(record["messages"][1]["content"] == made for record in records)
    read_from = {path.read_text() for path in traces.glob("*.used")}
    assert (str(tmp_path / "run/artifacts") in read_from) is not shipped
    if shipped:
        assert not any(Path(folder).exists() for folder in read_from), "they are left behind"
    pids = {path.name.split(".")[1] for path in traces.glob("*.used")}
    for event in ("started", "stopped"):
        assert {path.name.partition(".")[0] for path in traces.glob(f"*.{event}")} == pids, event


class Other:
    """What else runs on the cluster."""

    def is_there(self) -> bool:
        return True


def test_more_workers_than_places_and_no_place_at_all(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer() as server:
        three = {"kind": "ray", "address": cluster, "workers": 3}  # on two CPUs
        assert run(plan(server.url, executor=three), tmp_path / "three")["tasks"] == TASKS
        nine = {"kind": "ray", "address": cluster, "workers": 9}
        with pytest.raises(ConfigError, match=r"9 workers can't share the 8 calls in flight of models\.default"):
            run(plan(server.url, executor=nine), tmp_path / "nine")
        ray: Any = import_module("ray")
        others = [ray.remote(Other).options(num_cpus=1).remote() for _ in range(2)]
        ray.get([other.is_there.remote() for other in others], timeout=20)
        monkeypatch.setattr("gristmill.scaleout.cluster.START_SECONDS", 1.0)
        try:
            with pytest.raises(GristmillError, match="no worker started within 1 s"):
                run(plan(server.url, cluster), tmp_path / "none")
        finally:
            for other in others:
                ray.kill(other)


def test_no_ray_and_no_cluster_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from gristmill.scaleout.connection import connect

    ray = import_module("ray")
    with pytest.raises(ConfigError, match=r"there is no Ray cluster at 127\.0\.0\.1:9 that can be used"):
        connect(ray, ExecutorConfig(kind="ray", address="127.0.0.1:9"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"there is no Ray cluster at 127\.0\.0\.1:9 that can be used"):
        connect(ray, ExecutorConfig(kind="ray", address="auto"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed: pip install 'gristmill\[ray\]'"):
        run(plan("http://127.0.0.1:9/v1", "local"), tmp_path)


def test_a_stopped_and_a_killed_driver_lose_nothing(cluster: str, cli: CLI, tmp_path: Path) -> None:
    """The first session is told to stop, the second one killed, the third one starts a cluster of its own."""
    command = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml", "executor.kind=ray"]
    with FaultServer(Faults(latency=0.1)) as server:
        model = {"default": {"endpoint": server.url, "model": "m", "max_in_flight": 4}}
        write_config(tmp_path, server.url, models=model)
        for number, goal, status in ((signal.SIGTERM, 20, 130), (signal.SIGKILL, 50, -signal.SIGKILL)):
            process = subprocess.Popen(
                [*command, f"executor.address={cluster}"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
            )
            while server.requests < goal:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(number)
            _, told = process.communicate(timeout=30)
            assert process.returncode == status and "Traceback" not in told and "***" not in told, told
        done = cli("generate", "run.yaml", "executor.kind=ray", "executor.address=local")
        assert done.returncode == 0, done.stderr
        assert server.answered.total() <= 2 * ROWS + 4 + 4 + 2  # in flight when it ended; not yet handed over
        assert cli("generate", "run.yaml", "--run", "here").returncode == 0
    assert records_of(tmp_path / "runs/run") == records_of(tmp_path / "here")


def calls_of(folder: Path) -> list[Call]:
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        return list(ledger.calls())
    finally:
        ledger.close()
