"""A budget is not exceeded, also where nobody knows beforehand how long the answers will be."""

import asyncio
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from gristmill import Context, Generator, NoParams, Record, Seed
from gristmill.commands.generate import run_plan
from gristmill.errors import BudgetReached
from gristmill.llm import Reply, Role, Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from schemas import JsonObject, Message, Usage, assistant, user
from schemas.run_config import RunConfig


class Number(Seed):
    n: int


class Asking(Generator[Number, NoParams]):
    name = "asking"

    def tasks(self) -> Any:
        return (Number(n=n) for n in range(400))

    async def run(self, seed: Number, ctx: Context) -> Record:
        reply = await ctx.chat("teacher", [user(str(seed.n))])
        return Record(messages=[user(str(seed.n)), assistant(reply.text)])


class Thinking:
    """Uses between a half and all of `most` tokens for each answer."""

    resting = 0

    def __init__(self, most: int) -> None:
        self.most, self.in_flight, self.together = most, 0, 0

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        self.in_flight += 1
        self.together = max(self.together, self.in_flight)
        await asyncio.sleep(0.002)
        self.in_flight -= 1
        output = random.Random(str(request["messages"])).randint(self.most // 2, self.most)
        return Reply(Message(role="assistant", content="yes"), "stop", Usage(input=20, output=output), "m")

    async def close(self) -> None:
        return None


def plan(budget: dict[str, float], **model: Any) -> Plan:
    models = {"default": {"endpoint": "http://x.invalid/v1", "model": "m", "price": {"output": 10}, **model}}
    config = RunConfig.model_validate({"generator": "asking", "models": models, "budget": budget})
    return Plan(config, Asking(NoParams()), [], Roles(config.models), "fingerprint")


@pytest.mark.parametrize("budget", [{"tokens": 2_000_000}, {"usd": 20.0}])
@pytest.mark.parametrize("model", [{}, {"max_tokens": 30_000}])
def test_answers_of_30k_tokens_do_not_exceed_it(
    tmp_path: Path, budget: dict[str, float], model: dict[str, Any]
) -> None:
    """64 calls might go out at once: at a guess of a thousand tokens each, all of them would."""
    thinking = Thinking(30_000)
    with pytest.raises(BudgetReached):
        run_plan(plan(budget, **model), RunFolder(tmp_path), transport=thinking, quiet=True)
    summary = orjson.loads((tmp_path / "summary.json").read_bytes())
    spent = summary["usd"] if "usd" in budget else summary["tokens"]["input"] + summary["tokens"]["output"]
    limit = next(iter(budget.values()))
    assert 0.9 * limit < spent <= limit, "and it is used"
    assert thinking.together > 8, "calls go out together where there is room"


def test_a_budget_with_room_slows_nothing_down_after_the_first_answer(tmp_path: Path) -> None:
    thinking = Thinking(100)
    summary = run_plan(plan({"tokens": 10**9}), RunFolder(tmp_path), transport=thinking, quiet=True)
    assert summary["accepted"] == 400 and thinking.together > 64
