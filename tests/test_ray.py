"""Scale-out: a run on the workers of a Ray cluster is the same run."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill import Context, NoParams, Record
from gristmill.commands.generate import run_plan
from gristmill.errors import BudgetReached, ConfigError, EndpointError
from gristmill.ledger import Ledger
from gristmill.llm import Roles
from gristmill.plan import NamedJudge, Plan
from gristmill.runs import RunFolder
from gristmill.testing import Faults, FaultServer
from schemas import user
from schemas.run_config import RunConfig
from tests.conftest import CLI, ROOT
from tests.test_cli import one_sentence, write_config
from tests.test_engine import Number, OddOut, Votes, records_of

pytestmark = pytest.mark.ray

KEY = "GRISTMILL_TEST_KEY"
TASKS = 30
CALLS = 8 * (TASKS - 4 - 3) + 28  # tasks 3, 10, 17, 24 are unlucky and 5, 16, 27 break; 28 records are judged


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two "machines" with one CPU each. This process is connected to it as well, which
    saves its runs from doing so each time; commands that are run connect by themselves."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(ROOT), **{KEY: "sk-wrong"})
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args=node)
    machines.add_node(**node)
    ray.init(machines.address, log_to_driver=False, logging_level="ERROR")
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
    content = {"generator": "votes", "models": {"default": model}, "max_failed": 1, "executor": executor}
    run_config = RunConfig.model_validate({"tasks": TASKS, **content, **config})
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
        asked = sum(server.answered.values())
        there = run(plan(server.url, cluster), tmp_path / "there")
        assert sum(server.answered.values()) == 2 * asked == 2 * CALLS
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
        paid = sum(server.answered.values())
        assert 0 < paid < CALLS
        summary = run(plan(server.url, second), tmp_path)
        assert sum(server.answered.values()) == CALLS == summary["calls"], "a call was paid twice"
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
        assert sum(server.answered.values()) == CALLS == summary["calls_reused"]
    ledger = Ledger(tmp_path / "two/ledger.sqlite")
    assert len(list(ledger.calls())) == CALLS and not any(call.paid for call in ledger.calls())
    ledger.close()


def test_a_killed_worker_s_jobs_are_taken_over(cluster: str, tmp_path: Path) -> None:
    with FaultServer(Faults(latency=0.02)) as server:
        summary = run(plan(server.url, cluster, Deadly, str(tmp_path)), tmp_path / "there")
        assert (tmp_path / "killed").exists()
        assert summary["calls"] == CALLS + 1
        assert sum(server.answered.values()) <= CALLS + 1 + 4 + 10  # in flight there, and not yet handed over
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
    with pytest.raises(EndpointError, match=r"http://127.0.0.1:9/v1 can't be reached: .* repeat the command"):
        run(plan("http://127.0.0.1:9/v1", cluster), tmp_path / "gone")


def test_artifacts_are_shipped_to_a_worker_that_does_not_see_them(tmp_path: Path) -> None:
    from gristmill.scaleout.connection import _pack
    from gristmill.scaleout.worker import Worker, listing

    (tmp_path / "a/deep").mkdir(parents=True)
    (tmp_path / "a/deep/file").write_text("model-made")
    assert listing(tmp_path / "a") == [("deep/file", 10, (tmp_path / "a/deep/file").stat().st_mtime_ns)]
    assert listing(tmp_path / "elsewhere") == []


def test_killing_the_driver_loses_nothing(cluster: str, cli: CLI, tmp_path: Path) -> None:
    on_ray = [f"executor={{kind: ray, address: '{cluster}', workers: 2}}"]
    command = [sys.executable, "-m", "gristmill.cli", "generate", "run.yaml", *on_ray]
    with FaultServer(Faults(latency=0.1)) as server:
        model = {"default": {"endpoint": server.url, "model": "m", "max_in_flight": 4}}
        write_config(tmp_path, server.url, models=model)
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        while server.requests < 30:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        done = cli("generate", "run.yaml", *on_ray)
        assert done.returncode == 0, done.stderr
        assert sum(server.answered.values()) <= 80 + 4 + 4
        assert cli("generate", "run.yaml", "--run", "here").returncode == 0
    assert records_of(tmp_path / "runs/run") == records_of(tmp_path / "here")
