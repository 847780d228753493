"""Judges' functions inside a generator: through its own ctx, with the judges' prompts, durable like any other call."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill import Context, Generator, NoParams, Record, Reject, Seed
from gristmill.commands.generate import run_plan
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import ScriptedModel
from judges.genselect import select
from judges.pairwise import compare
from judges.votes import majority_vote
from schemas import JsonObject, assistant, user
from schemas.run_config import RunConfig


class Number(Seed):
    n: int


class BestOf(Generator[Number, NoParams]):
    """Five answers; the majority's if there is one, else the one that GenSelect prefers, checked against the first."""

    name = "best_of"

    def tasks(self) -> Iterator[Number]:
        return (Number(n=n) for n in range(6))

    async def run(self, seed: Number, ctx: Context) -> Record:
        question = f"question {seed.n}"
        replies = await ctx.gather(ctx.chat("solver", [user(question)]) for _ in range(5))
        answers = [reply.text for reply in replies]
        vote = await majority_vote(ctx, answers, "semantic", question=question)
        if vote.agreement > 0.5:
            chosen = vote.winner[0]
        else:
            chosen = (await select(ctx, question, answers, window=2)).position
            if (await compare(ctx, question, answers[chosen], answers[0])).score < 0.5:
                raise Reject("select", "worse_than_first")
        return Record(messages=[user(question), assistant(answers[chosen])], metadata={"vote": vote.as_metadata()})


class World:
    """Even questions have one right answer, which most solvers find; on odd ones each says something else."""

    def __init__(self) -> None:
        self.draws = 0
        self.given: dict[int, list[int]] = defaultdict(list)

    def __call__(self, role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        text: str = messages[0]["content"]
        if role == "solver":
            number = int(text.split()[-1])
            self.draws += 1
            self.given[number].append(self.draws)
            return f"answer {self.draws}" if number % 2 else ("Lyon" if len(self.given[number]) == 2 else "Paris")
        if "mean the same" in text:
            return {"reason": "r", "same": False}
        if "First answer:" in text:
            return {"reason": "r", "winner": "tie"}
        candidates = re.findall(r"Answer (\d+):\nanswer (\d+)", text)
        return {"reason": "the highest", "winner": int(max(candidates, key=lambda one: int(one[1]))[0])}


def test_functions_of_ctx_choose_and_replay(tmp_path: Path) -> None:
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m"}}
    config = RunConfig.model_validate({"generator": "best_of", "models": models})

    def run(fingerprint: str, model: ScriptedModel) -> list[dict[str, Any]]:
        plan = Plan(config, BestOf(NoParams()), [], Roles(config.models), fingerprint)
        summary = run_plan(plan, RunFolder(tmp_path), transport=model, quiet=True)
        assert summary["accepted"] == 6, summary["by_reason"]
        rows: list[dict[str, Any]] = pq.read_table(tmp_path / "records").to_pylist()
        return rows

    world = World()
    first = run("one", ScriptedModel(world, shuffle=True))
    answers = [row["messages"][-1]["content"] for row in first]
    assert answers[::2] == ["Paris"] * 3
    assert answers[1::2] == [f"answer {max(world.given[number])}" for number in (1, 3, 5)]
    assert all('"agreement":0.2' in row["metadata"] for row in first[1::2])
    again = ScriptedModel(World())
    assert run("another code", again) == first and not again.calls, "a replay asks nothing"
