"""answerable: can the question be answered from what comes with it? The model sees the conversation up to the answer.

Source: Nemotron 3 Super report (arXiv 2604.12374), financial QA: a small model labels each pair.
"""

from typing import Literal

from gristmill import Answer, Context, Record, Verdict
from judges.asking import ModelJudge, ModelParams, Reason, ask, carried, collect
from judges.fields import before_answer, read_out


class Label(Answer):
    reason: Reason
    verdict: Literal["ANSWERABLE", "UNANSWERABLE"]


class Params(ModelParams):
    """`want` says which of the two passes; sets that teach to decline want `unanswerable`."""

    want: Literal["answerable", "unanswerable"] = "answerable"


class Answerable(ModelJudge[Params]):
    name = "answerable"

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        asked = before_answer(record)
        if not any(message.role == "user" for message in asked):
            return Verdict(name=self.name, passed=None, reason="the record has no question")
        params = self.params
        labels = await collect(
            ctx, params.votes, lambda: ask(ctx, params.role, "answerable", Label, conversation=read_out(asked))
        )
        fits = [label.verdict == params.want.upper() for label in labels]
        passed = carried(fits, params.votes)
        reason = next(label.reason for label, fit in zip(labels, fits, strict=True) if passed is None or fit == passed)
        return Verdict(
            name=self.name, passed=passed, score=sum(fits) / len(fits), reason=reason, model=ctx.model(params.role)
        )
