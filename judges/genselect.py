"""genselect: a model reads several answers at once and names the best; the order is shuffled, many come in windows.

    chosen = await select(ctx, question, candidates, window=8)      chosen.position: the position of the best candidate

More candidates than `window` are divided into windows of equal size, whose winners meet again, until one is left.
Candidates with the same text are shown once. As a judge it passes a record whose answer wins against those in the
field `candidates`.

Source: GenSelect, AIMO-2 winning solution (arXiv 2504.16891); Nemotron 3 Super report (arXiv 2604.12374),
financial QA: five candidates, a larger judge.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from gristmill import Context, Record, Verdict
from gristmill.llm import Shape, object_shape
from judges.asking import ModelJudge, ModelParams, ask_shape, collect
from judges.fields import FieldPath, answer, before_answer, lookup, read_out
from schemas import JsonObject

CRITERIA = "Correctness of the result and of each step first, then completeness. Length and confidence earn nothing."


class Selection(NamedTuple):
    """The best candidate's position among those given, and why it won its last round ("" without a round)."""

    position: int
    reason: str


class Params(ModelParams):
    candidates: FieldPath = "metadata.candidates"
    criteria: str = CRITERIA
    window: Annotated[int, Field(ge=2, le=32)] = 8


class GenSelect(ModelJudge[Params]):
    name = "genselect"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        params, own, others = self.params, answer(record), lookup(record, self.params.candidates)
        if not own or not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            return Verdict(name=self.name, passed=None, reason=f"no list of texts in {params.candidates}")
        candidates = [own, *(str(other) for other in others if other != own)]
        if len(candidates) == 1:
            return Verdict(name=self.name, passed=None, reason=f"{params.candidates} holds no other answer")
        question = read_out(before_answer(record))
        chosen = await select(
            ctx, question, candidates,
            role=params.role, criteria=params.criteria, window=params.window, votes=params.votes,
        )  # fmt: skip
        passed = chosen.position == 0
        return Verdict(
            name=self.name, passed=passed, score=float(passed), reason=chosen.reason, model=ctx.model(params.role)
        )


async def select(
    ctx: Context,
    question: str,
    candidates: Sequence[str],
    *,
    role: str = "judge",
    criteria: str = CRITERIA,
    window: int = 8,
    votes: int = 1,
) -> Selection:
    """The best of the candidates. With votes the most frequent choice, on a tie the earliest candidate.

    ValueError where there are no candidates; Reject where the role gives no answer.
    """
    if not candidates:
        raise ValueError("there is nothing to select from")
    distinct = list(dict.fromkeys(candidates))
    if len(distinct) == 1:
        return Selection(0, "")

    async def vote() -> Selection:
        order = list(range(len(distinct)))
        ctx.rng.shuffle(order)
        return await _tournament(ctx, question, distinct, order, role, criteria, window)

    found = await collect(ctx, votes, vote)
    counts = Counter(selection.position for selection in found)
    best = max(sorted(counts), key=lambda index: counts[index])
    reason = next(selection.reason for selection in found if selection.position == best)
    return Selection(candidates.index(distinct[best]), reason)


async def _tournament(
    ctx: Context, question: str, texts: list[str], order: list[int], role: str, criteria: str, window: int
) -> Selection:
    """Windows of nearly equal size, then their winners among themselves."""
    if len(order) <= window:
        return await _best_of(ctx, question, texts, order, role, criteria)
    count = ceil(len(order) / window)
    windows = [order[start::count] for start in range(count)]
    winners = await ctx.gather(_best_of(ctx, question, texts, one, role, criteria) for one in windows)
    return await _tournament(ctx, question, texts, [winner.position for winner in winners], role, criteria, window)


async def _best_of(
    ctx: Context, question: str, texts: list[str], order: list[int], role: str, criteria: str
) -> Selection:
    if len(order) == 1:
        return Selection(order[0], "")
    shown = [texts[index] for index in order]
    reply: Any = await ask_shape(
        ctx, role, "genselect", _choice(len(shown)), criteria=criteria, question=question, candidates=shown
    )
    return Selection(order[reply["winner"] - 1], reply["reason"])


@cache
def _choice(size: int) -> Shape[JsonObject]:
    return object_shape(
        "Choice",
        {
            "reason": {"type": "string", "maxLength": 600},
            "winner": {"type": "integer", "minimum": 1, "maximum": size},
        },
    )
