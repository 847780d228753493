"""pairwise: a model compares two answers in both orders; where the two orders disagree, it is a tie.

    found = await compare(ctx, question, one, other)      found.score: 1 the first is better, 0 the second, 0.5 a tie

As a judge it compares a record's answer with the one that the field `against` holds.

Source: position bias and order swap, Zheng et al. 2023 (arXiv 2306.05685).
"""

from typing import Literal, NamedTuple

from gristmill import Answer, Context, Record, Verdict
from judges.asking import ModelJudge, ModelParams, Reason, ask, collect
from judges.fields import FieldPath, answer, before_answer, lookup, read_out

CRITERIA = "Correctness first, then completeness, then clarity. Length, confidence and politeness earn nothing."


class Choice(Answer):
    reason: Reason
    winner: Literal["first", "second", "tie"]


class Comparison(NamedTuple):
    """`score` 1 where the first answer is better, 0 where the second is, 0.5 on a tie."""

    score: float
    reason: str


class Params(ModelParams):
    """`pass_on: tie` asks that the record's answer is at least as good as the other one, `win` that it is better."""

    against: FieldPath = "metadata.reference"
    criteria: str = CRITERIA
    pass_on: Literal["win", "tie"] = "tie"


class Pairwise(ModelJudge[Params]):
    name = "pairwise"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        params, own, other = self.params, answer(record), lookup(record, self.params.against)
        if not own or not isinstance(other, str):
            missing = "answer" if not own else params.against
            return Verdict(name=self.name, passed=None, reason=f"nothing to compare: the record has no {missing}")
        question = read_out(before_answer(record))
        found = await collect(
            ctx, params.votes, lambda: compare(ctx, question, own, other, role=params.role, criteria=params.criteria)
        )
        score = sum(one.score for one in found) / len(found)
        passed = score > 0.5 if params.pass_on == "win" else score >= 0.5
        return Verdict(name=self.name, passed=passed, score=score, reason=found[0].reason, model=ctx.model(params.role))


async def compare(
    ctx: Context, question: str, one: str, other: str, *, role: str = "judge", criteria: str = CRITERIA
) -> Comparison:
    """Which of two answers is better, asked in both orders. Reject where either order gives no answer."""
    forth, back = await ctx.gather(
        ask(ctx, role, "pairwise", Choice, criteria=criteria, question=question, first=first, second=second)
        for first, second in ((one, other), (other, one))
    )
    if (forth.winner, back.winner) == ("first", "second"):
        return Comparison(1.0, forth.reason)
    if (forth.winner, back.winner) == ("second", "first"):
        return Comparison(0.0, forth.reason)
    agreed = forth.winner == back.winner == "tie"
    return Comparison(0.5, forth.reason if agreed else f"the two orders disagree, so it is a tie: {forth.reason}")
