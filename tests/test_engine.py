"""The engine and its ledger: resume = uninterrupted, nothing paid twice, every task in one status."""

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from gristmill import Answer, Context, Generator, Judge, NoParams, Record, Reject, Seed, Verdict
from gristmill.budget import Meter
from gristmill.commands.generate import run_plan
from gristmill.engine import Engine
from gristmill.errors import BudgetReached, EndpointError, GristmillError, TaskFailed, TooFewRecords, TooManyFailed
from gristmill.judging import NamedJudge
from gristmill.ledger import Ledger
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder, refresh
from gristmill.testing import ScriptedModel
from schemas import JsonObject, assistant, user
from schemas.run_config import RunConfig


class Number(Seed):
    n: int


class Doubt(Answer):
    sure: bool


class Votes(Generator[Number, NoParams]):
    """Asks three times at once, then once more per branch: draws, scopes and occurrences all matter."""

    name = "votes"
    endless = True

    def tasks(self) -> Iterator[Number]:
        n = 0
        while True:
            yield Number(n=n)
            n += 1

    async def run(self, seed: Number, ctx: Context) -> Record | list[Record]:
        async def branch() -> tuple[str, float]:
            first = await ctx.chat("solver", [user(f"{seed.n}?")])
            again = await ctx.chat("solver", [user(f"{seed.n}?")])
            return f"{first.text} {again.text}", ctx.rng.random()

        if seed.n % 7 == 3:
            raise Reject("generate", "unlucky", f"{seed.n}", n=seed.n)
        if seed.n % 11 == 5:
            raise ZeroDivisionError("a bug of the generator's")
        votes = await ctx.gather(branch() for _ in range(3))
        more = await ctx.gather(branch())
        text = " ".join(f"{answer} {draw:.6f}" for answer, draw in [*votes, *more])
        record = Record(messages=[user(str(seed.n)), assistant(text)], category="even" if seed.n % 2 == 0 else "odd")
        return [record, record.model_copy(deep=True)] if seed.n % 5 == 4 else record


class OddOut(Judge[NoParams]):
    """Passes records by length; undecided for a few."""

    name = "odd_out"

    def roles(self) -> list[str]:
        return ["judge"]

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        reply = await ctx.chat("judge", [user(record.messages[0].content)])
        passed = {0: False, 1: None}.get(int(record.messages[0].content) % 9, True)
        return Verdict(name=self.name, passed=passed, reason=reply.text)


class Sampler:
    """A stand-in for a sampling model: every call, in whatever order it comes, gets another answer."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, role: str, request: JsonObject) -> str:
        self.count += 1
        return f"draw {self.count} of {random.random():.12f}"


def plan(judged: bool = True, **config: Any) -> Plan:
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m", "price": {"input": 1000, "output": 1000}}}
    run_config = RunConfig.model_validate({"generator": "votes", "models": models, "max_failed": 1, **config})
    judges = [NamedJudge("odd_out", OddOut(NoParams()))] if judged else []
    return Plan(run_config, Votes(NoParams(), seed=run_config.seed), judges, Roles(run_config.models), "fingerprint")


def records_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "records").to_pylist()
    return rows


def test_every_task_ends_in_one_status(tmp_path: Path) -> None:
    summary = run_plan(plan(tasks=60), RunFolder(tmp_path), transport=ScriptedModel(shuffle=True), quiet=True)
    assert summary["tasks"] == 60 == summary["accepted"] + summary["rejected"] + summary["failed"]
    rows, rejects = records_of(tmp_path), pq.read_table(tmp_path / "rejects").to_pylist()
    assert summary["records"] == len(rows) and len({row["task_id"] for row in rows}) == summary["accepted"]
    assert len({row["task_id"] for row in rejects if row["status"] == "rejected"}) == summary["rejected"]
    reasons = {(row["status"], row["stage"], row["reason"]) for row in rejects}
    assert reasons == {
        ("rejected", "generate", "unlucky"),
        ("rejected", "odd_out", "failed"),
        ("rejected", "odd_out", "undecided"),
        ("failed", "generator", "error"),
    }
    broken = next(row for row in rejects if row["status"] == "failed")
    assert "ZeroDivisionError: a bug of the generator's (test_engine.py:" in broken["detail"]
    unlucky = next(row for row in rejects if row["reason"] == "unlucky")
    assert orjson.loads(unlucky["payload"])["n"] == orjson.loads(unlucky["payload"])["seed"]["n"]


def test_records_come_in_task_order_with_their_origin(tmp_path: Path) -> None:
    run_plan(plan(tasks=30), RunFolder(tmp_path), transport=ScriptedModel(shuffle=True), quiet=True)
    rows = records_of(tmp_path)
    numbers = [int(row["messages"][0]["content"]) for row in rows]
    assert numbers == sorted(numbers)
    provenance = orjson.loads(rows[0]["provenance"])
    assert provenance["models"] == {"judge": "m", "solver": "m"} and len(provenance["calls"]) == 9
    assert provenance["usd"] > 0 and provenance["tokens"]["output"] > 0
    assert rows[0]["verdicts"][0]["name"] == "odd_out" and rows[0]["verdicts"][0]["cost"] > 0


class Interrupted(Exception):
    pass


class Breaking(ScriptedModel):
    """Stops the whole run after so many calls, as a crash would: the calls in flight are lost."""

    def __init__(self, script: Sampler, after: int) -> None:
        super().__init__(script, shuffle=True)
        self.left = after

    async def send(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise GristmillError("stopped on purpose")
        return await super().send(*arguments)


@pytest.mark.parametrize("seed", range(4))
def test_resume_gives_the_draws_that_were_paid(tmp_path: Path, seed: int) -> None:
    """With a model that never says the same twice: what a first session paid for is in the records of the last."""
    rng, sampler, sessions = random.Random(seed), Sampler(), 0
    while True:
        sessions += 1
        model = Breaking(sampler, rng.randint(5, 60))
        try:
            summary = run_plan(plan(tasks=25), RunFolder(tmp_path), transport=model, quiet=True)
            break
        except GristmillError as stop:
            assert "stopped on purpose" in str(stop)
    assert sessions > 2
    first = records_of(tmp_path)
    untouched = ScriptedModel(lambda role, request: AssertionError("asked again"))
    (tmp_path / "records" / "part-00000.parquet").unlink()
    with pytest.raises(TooManyFailed):  # failed tasks are tried again, and fail again, without a call
        run_plan(plan(tasks=25, max_failed=0), RunFolder(tmp_path), transport=untouched, quiet=True)
    assert untouched.calls == []
    assert records_of(tmp_path) == first
    replayed = run_all_again_through_the_ledger(tmp_path)
    assert replayed == first
    assert summary["calls"] == len({draw for row in ledger_texts(tmp_path) for draw in [row]})


def run_all_again_through_the_ledger(folder: Path) -> list[dict[str, Any]]:
    """Another fingerprint, as after a changed config: every task runs again, every call is answered by the ledger."""
    changed = plan(tasks=25)
    changed = Plan(changed.config, changed.generator, changed.judges, changed.roles, "another fingerprint")
    untouched = ScriptedModel(lambda role, request: AssertionError("asked again"), shuffle=True)
    summary = run_plan(changed, RunFolder(folder), transport=untouched, quiet=True)
    assert untouched.calls == [] and summary["calls_reused"] > 0
    return records_of(folder)


def ledger_texts(folder: Path) -> list[str]:
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        return [orjson.loads(call.reply)["message"]["content"] for call in ledger.calls()]
    finally:
        ledger.close()


def test_records_do_not_depend_on_the_order_of_replies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_plan(plan(tasks=30), RunFolder(tmp_path / name), transport=ScriptedModel(shuffle=True), quiet=True)
    one, two = ((tmp_path / name / "records" / "part-00000.parquet").read_bytes() for name in ("a", "b"))
    assert one == two


@pytest.mark.parametrize("wanted", [1, 7, 20])
def test_samples_are_the_first_in_task_order(tmp_path: Path, wanted: int) -> None:
    everything = run_plan(plan(tasks=80), RunFolder(tmp_path / "all"), transport=ScriptedModel(), quiet=True)
    assert everything["records"] > wanted
    model = ScriptedModel(shuffle=True)
    summary = run_plan(plan(samples=wanted), RunFolder(tmp_path / "n"), transport=model, quiet=True)
    assert summary["records"] == wanted
    assert [r["uuid"] for r in records_of(tmp_path / "n")] == [r["uuid"] for r in records_of(tmp_path / "all")][:wanted]
    assert summary["accepted"] + summary["rejected"] + summary["failed"] == summary["tasks"]
    more = run_plan(plan(samples=wanted + 5), RunFolder(tmp_path / "n"), transport=ScriptedModel(), quiet=True)
    assert more["records"] == wanted + 5  # a larger N goes on where the smaller one ended


def test_too_few_tasks_for_the_samples(tmp_path: Path) -> None:
    with pytest.raises(TooFewRecords, match="the tasks ran out at"):
        run_plan(plan(samples=50, max_tasks=20), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)
    assert len(records_of(tmp_path)) > 5


def test_too_many_failed(tmp_path: Path) -> None:
    with pytest.raises(TooManyFailed, match="2 of 20 tasks failed"):
        run_plan(plan(tasks=20, max_failed=0.05), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)


@pytest.mark.parametrize("budget", [{"usd": 3.0}, {"tokens": 2000}])
def test_the_budget_is_never_exceeded_and_the_run_resumes(tmp_path: Path, budget: dict[str, float]) -> None:
    with pytest.raises(BudgetReached, match="the budget is used up"):
        run_plan(plan(tasks=60, budget=budget), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)
    summary = orjson.loads((tmp_path / "summary.json").read_bytes())
    spent = summary["usd"] if "usd" in budget else summary["tokens"]["input"] + summary["tokens"]["output"]
    assert 0.5 * next(iter(budget.values())) < spent <= next(iter(budget.values()))
    whole = run_plan(plan(tasks=60), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)
    assert whole["tasks"] == 60


def test_a_lost_endpoint_stops_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    left = iter(range(100))

    def script(role: str, request: JsonObject) -> Any:
        return "fine" if next(left) < 50 else EndpointError("gone")

    with pytest.raises(EndpointError, match="gone"):
        run_plan(plan(tasks=60), RunFolder(tmp_path), transport=ScriptedModel(script), quiet=True)
    assert len(ledger_texts(tmp_path)) == 50


def test_a_task_that_the_endpoint_cannot_serve_is_failed(tmp_path: Path) -> None:
    broken = ScriptedModel(lambda role, request: TaskFailed("llm", "status 400"))
    summary = run_plan(plan(tasks=4), RunFolder(tmp_path), transport=broken, quiet=True)
    assert summary["by_reason"] == {"llm/error": 3, "generate/unlucky": 1}
    mended = run_plan(plan(tasks=4), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)
    assert mended["failed"] == 0  # repeating the command tries failed tasks again


def test_two_processes_never_share_a_run(tmp_path: Path) -> None:
    with RunFolder(tmp_path).lock(), pytest.raises(GristmillError, match="in use by another process"):
        run_plan(plan(tasks=1), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)


def test_a_run_is_brought_up_to_date_from_its_ledger(tmp_path: Path) -> None:
    run_plan(plan(tasks=20), RunFolder(tmp_path), transport=ScriptedModel(), quiet=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    for path in (tmp_path / "records").iterdir():
        path.unlink()
    (tmp_path / "summary.json").unlink()
    refresh(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()} == before


def test_a_damaged_ledger_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 50)
    with pytest.raises(GristmillError, match="no ledger that can be read"):
        Ledger(tmp_path / "ledger.sqlite")


async def test_a_call_goes_on_only_when_it_is_committed(tmp_path: Path) -> None:
    """The reply is in the file, readable by others, before the coroutine sees it."""
    seen = []

    class Looking(Votes):
        async def run(self, seed: Number, ctx: Context) -> Record:
            reply = await ctx.chat("solver", [user("q")])
            other = Ledger(tmp_path / "ledger.sqlite")
            seen.append([orjson.loads(call.reply)["message"]["content"] for call in other.calls()])
            other.close()
            return Record(messages=[user("q"), assistant(reply.text)])

    made = plan(judged=False, tasks=1)
    made = Plan(made.config, Looking(NoParams()), [], made.roles, "f")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await Engine(made, ledger, ScriptedModel(lambda role, request: "an answer"), tmp_path).run()
    ledger.close()
    assert seen == [["an answer"]]


async def test_gather_raises_the_first_failure_in_branch_order(tmp_path: Path) -> None:
    ended = []

    class Branches(Votes):
        async def run(self, seed: Number, ctx: Context) -> Record:
            async def fail(delay: float, reason: str) -> str:
                await asyncio.sleep(delay)
                ended.append(reason)
                raise Reject("generate", reason)

            async def fine() -> str:
                await asyncio.sleep(0.02)
                ended.append("fine")
                return "fine"

            kept = await ctx.gather(fine(), fail(0, "kept"), keep_rejects=True)
            assert kept[0] == "fine" and isinstance(kept[1], Reject)
            await ctx.gather(fail(0.03, "slow"), fail(0, "fast"), fine())
            raise AssertionError("unreachable")

    made = plan(judged=False, tasks=1)
    made = Plan(made.config, Branches(NoParams()), [], made.roles, "f")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    await Engine(made, ledger, ScriptedModel(), tmp_path).run()
    (outcome,) = ledger.outcomes("f")
    ledger.close()
    assert outcome.rows["rejects"][0]["reason"] == "slow"
    assert sorted(ended) == ["fast", "fine", "fine", "kept", "slow"]


def _next_of(answers: list[Any], role: str, request: JsonObject) -> Any:
    return answers.pop(0)


async def test_unparseable_answers_are_asked_again_then_rejected(tmp_path: Path) -> None:
    class Sure(Votes):
        async def run(self, seed: Number, ctx: Context) -> Record:
            from gristmill.llm import answer_shape

            doubt = await ctx.answer("solver", [user("sure?")], answer_shape(Doubt))
            return Record(messages=[user("sure?"), assistant(str(doubt.sure))])

    for good_after, status in ((2, "accepted"), (9, "rejected")):
        answers: list[Any] = [*["{sure}"] * good_after, {"sure": True}]
        model = ScriptedModel(partial(_next_of, answers))
        made = plan(judged=False, tasks=1)
        made = Plan(made.config, Sure(NoParams()), [], made.roles, "f")
        ledger = Ledger(tmp_path / f"{status}.sqlite")
        await Engine(made, ledger, model, tmp_path).run()
        (outcome,) = ledger.outcomes("f")
        ledger.close()
        assert outcome.status == status and len(model.calls) == min(good_after + 1, 4)


async def test_the_meter_waits_for_what_is_reserved() -> None:
    """A call that doesn't fit beside the others waits; when they cost less than reserved, it goes on."""
    made = plan(budget={"tokens": 1000})
    meter = Meter(made.config.budget)
    from schemas import Usage

    order = []

    async def call(name: str) -> None:
        reserved = await meter.reserve(made.roles["solver"], 300, {"max_tokens": 500})
        order.append(name)
        await asyncio.sleep(0.01)
        meter.pay(made.roles["solver"], "generate", Usage(input=10, output=10))
        meter.release(reserved)

    await asyncio.gather(call("a"), call("b"))
    assert order == ["a", "b"] and meter.tokens == 40
