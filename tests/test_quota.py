"""Exactly N records: the first in task order, per bucket, whatever is fast, slow, kept or rejected."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import Context, Generator, NoParams, Record, Reject, Seed
from gristmill.commands.generate import run_plan
from gristmill.errors import ConfigError, TooFewRecords
from gristmill.llm import Reply, Role, Roles
from gristmill.plan import Plan
from gristmill.quota import Quota, make_quota
from gristmill.runs import RunFolder
from gristmill.testing import FaultServer, ScriptedModel
from schemas import JsonObject, assistant, user
from schemas.run_config import RunConfig
from tests.conftest import CLI
from tests.runs import rows_of, two_calls, write

IN_FLIGHT = 16
KINDS = ("easy", "hard", "odd")
KEPT = {"easy": 0.9, "hard": 0.2, "odd": 0.6}
SLOW = {"easy": 0.001, "hard": 0.02, "odd": 0.005}


class Cell(Seed):
    n: int
    kind: str


class Cells(Generator[Cell, NoParams]):
    """Kinds that are kept, slow and frequent to different degrees; `hard` tasks are slow and seldom kept."""

    name = "cells"
    endless = True

    def tasks(self) -> Iterator[Cell]:
        n = 0
        while True:
            yield Cell(n=n, kind=random.Random(n).choices(KINDS, (5, 3, 2))[0])
            n += 1

    async def run(self, seed: Cell, ctx: Context) -> Record | list[Record]:
        reply = await ctx.chat("solver", [user(f"{seed.kind} {seed.n}")])
        if random.Random(f"kept {seed.n}").random() > KEPT[seed.kind]:
            raise Reject("generate", "not_kept")
        record = Record(messages=[user(str(seed.n)), assistant(reply.text)], category=seed.kind)
        return [record, record.model_copy(deep=True)] if seed.n % 10 == 0 else record


class Uneven(ScriptedModel):
    """Slow for hard questions, and by chance."""

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        kind = str(request["messages"]).split("'content': '")[1].split()[0]
        await asyncio.sleep(random.random() * SLOW[kind])
        return await super().send(role, path, request)


def plan(**config: Any) -> Plan:
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m", "max_in_flight": IN_FLIGHT}}
    run_config = RunConfig.model_validate({"generator": "cells", "models": models, **config})
    return Plan(run_config, Cells(NoParams()), [], Roles(run_config.models), "fingerprint")


def generate(folder: Path, model: ScriptedModel | None = None, **config: Any) -> dict[str, Any]:
    return run_plan(plan(**config), RunFolder(folder), transport=model or Uneven(), quiet=True)


def numbers(folder: Path, table: str = "records") -> list[int]:
    return [int(row["messages"][0]["content"]) for row in rows_of(folder, table)]


def first_per_bucket(folder: Path, wanted: dict[str, int]) -> list[int]:
    """What the quota promises, taken from a run of all tasks."""
    left, chosen = Counter(wanted), []
    for row in rows_of(folder):
        if left[row["category"]] > 0:
            left[row["category"]] -= 1
            chosen.append(int(row["messages"][0]["content"]))
    assert left.total() == 0, "too few tasks for this test"
    return chosen


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of more tasks than any test needs."""
    folder = tmp_path_factory.mktemp("everything")
    generate(folder, ScriptedModel(), tasks=900)
    return folder


@pytest.mark.parametrize("samples", [1, 10, 60])
def test_the_first_n_in_task_order_of_each_bucket(tmp_path: Path, everything: Path, samples: int) -> None:
    summary = generate(tmp_path, samples=samples, quota={"by": ["kind"]})
    wanted = {kind: sums["wanted"] for kind, sums in summary["quota"].items()}
    assert sum(wanted.values()) == samples == summary["records"]
    assert all(sums["wanted"] == sums["records"] for sums in summary["quota"].values())
    if samples == 60:
        assert 27 <= wanted["easy"] <= 33 and 15 <= wanted["hard"] <= 21 and 9 <= wanted["odd"] <= 15
    assert numbers(tmp_path) == first_per_bucket(everything, wanted)
    assert summary["accepted"] + summary["rejected"] + summary["failed"] == summary["tasks"]


def test_without_a_quota_it_is_the_first_n_of_all(tmp_path: Path, everything: Path) -> None:
    assert generate(tmp_path, samples=50)["records"] == 50
    assert numbers(tmp_path) == numbers(everything)[:50]


@pytest.mark.parametrize("quota", [{}, {"by": ["kind"]}])
def test_the_overshoot_is_at_most_the_tasks_in_flight_and_lies_in_surplus(
    tmp_path: Path, everything: Path, quota: dict[str, Any]
) -> None:
    model = Uneven()
    summary = generate(tmp_path, model, samples=60, quota=quota)
    surplus = numbers(tmp_path, "surplus") if (tmp_path / "surplus").is_dir() else []
    assert len(surplus) <= 2 * IN_FLIGHT
    parted = set(surplus) & set(numbers(tmp_path))
    assert all(number % 10 == 0 for number in parted), "only the two records of one task may be parted"
    assert len(model.calls) == summary["calls"], "what lies in surplus is in the cost"
    assert len(model.calls) - summary["tasks"] <= 2 * IN_FLIGHT


def test_more_samples_go_on_where_fewer_ended(tmp_path: Path, everything: Path) -> None:
    first, second, third = Uneven(), Uneven(), Uneven()
    generate(tmp_path, first, samples=20, quota={"by": ["kind"]})
    more = generate(tmp_path, second, samples=60, quota={"by": ["kind"]})
    wanted = {kind: sums["wanted"] for kind, sums in more["quota"].items()}
    assert numbers(tmp_path) == first_per_bucket(everything, wanted)
    asked = [str(request["messages"]) for _, request in first.calls + second.calls]
    assert len(asked) == len(set(asked)), "nothing is bought twice"
    fewer = generate(tmp_path, third, samples=20, quota={"by": ["kind"]})
    assert third.calls == [] and fewer["records"] == 20


class Dying(Uneven):
    """Stops the run after so many calls."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        self.left -= 1
        if self.left < 0:
            raise ConfigError("stopped on purpose")
        return await super().send(role, path, request)


@pytest.mark.parametrize("seed", range(2))
def test_stopped_and_resumed_it_is_the_same_records(tmp_path: Path, everything: Path, seed: int) -> None:
    """Also where, at the stop, late tasks had ended and early ones hadn't."""
    rng, stops = random.Random(seed), 0
    while True:
        try:
            summary = generate(tmp_path, Dying(rng.randint(10, 40)), samples=60, quota={"by": ["kind"]})
            break
        except ConfigError:
            stops += 1
    assert stops >= 2
    wanted = {kind: sums["wanted"] for kind, sums in summary["quota"].items()}
    assert numbers(tmp_path) == first_per_bucket(everything, wanted)


def test_a_bucket_that_cannot_be_filled_ends_with_the_yield(tmp_path: Path) -> None:
    with pytest.raises(TooFewRecords, match=r"the tasks ran out at \d+ of 60 records .*not_kept") as error:
        generate(tmp_path, samples=60, max_tasks=70, quota={"by": ["kind"]})
    assert error.value.exit_status == 6
    summary = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert summary["quota"]["hard"]["records"] < summary["quota"]["hard"]["wanted"]
    assert summary["quota"]["easy"]["records"] == summary["quota"]["easy"]["wanted"]


def test_buckets_of_two_fields_and_what_is_wrong_is_said(cli: CLI, tmp_path: Path) -> None:
    with FaultServer() as server:
        config = two_calls(tmp_path, server.url, 30, samples=12, quota={"by": ["kind"]})
        write(config, tmp_path / "run.yaml")
        assert cli("generate", "run.yaml").returncode == 0
        summary = orjson.loads((tmp_path / "runs/run/summary.json").read_bytes())
        assert summary["quota"] == {kind: {"wanted": 4, "records": 4} for kind in "abc"}
        unknown = cli("generate", "run.yaml", "quota.by=[colour]")
        assert unknown.returncode == 2 and "no field 'colour'; the fields there: text, kind" in unknown.stderr
        assert "Traceback" not in unknown.stderr
        over = cli("generate", "run.yaml", "samples=31")
        assert over.returncode == 6 and "the tasks ran out at 30 of 31 records" in over.stderr
        without = cli("generate", "run.yaml", "samples=null")
        assert without.returncode == 2 and "`quota` divides `samples`" in without.stderr


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1), st.integers(1, 60))
def test_shares_add_up_and_follow_the_tasks(shares: dict[str, int], samples: int) -> None:
    seeds = [Cell(n=n, kind=kind) for kind, count in shares.items() for n in range(count)]
    quota = make_quota(samples, ["kind"], lambda: seeds)
    assert quota.wanted is not None and sum(quota.wanted.values()) == samples
    for kind, count in shares.items():
        assert abs(quota.wanted[kind] - samples * count / len(seeds)) < 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=60), st.integers(1, 20))
def test_a_task_is_launched_until_its_bucket_is_full(outcomes: list[tuple[str, int]], wanted: int) -> None:
    """However the tasks ended: with none running, a bucket needs one more exactly while it lacks records."""
    quota = Quota({"a": wanted, "b": 0}, ["kind"])
    for bucket, records in outcomes:
        quota.launched(bucket)
        quota.ended(bucket, records)
        quota.landed(bucket)
        assert quota.needs("a") == (quota.records["a"] < wanted) and not quota.needs("b")
