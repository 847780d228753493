"""majority_vote: a record passes where its answer is the one that most of its candidates give.

The field `candidates` holds the final answers of all attempts, also the record's own. How they divide is written to
`metadata.majority_vote`: {"agreement": 0.75, "groups": [6, 1, 1]}; the score is the agreement. The vote itself is
judges.votes.majority_vote, for generators that choose among candidates.

Source: self-consistency, Wang et al. 2022 (arXiv 2203.11171).
"""

from typing import Annotated

from pydantic import Field

from gristmill import Config, Context, Judge, Record, Verdict
from judges.claims import final_answer
from judges.fields import FieldPath, answer, before_answer, lookup, read_out
from judges.votes import How, majority_vote


class Params(Config):
    """`role` is asked where `how` is semantic. `min_agreement` is the share that the largest group needs."""

    role: str = "judge"
    candidates: FieldPath = "metadata.candidates"
    how: How = "exact"
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.5
    tolerance: Annotated[float, Field(ge=0)] = 1e-6


class MajorityVote(Judge[Params]):
    name = "majority_vote"

    def roles(self) -> list[str]:
        return [self.params.role] if self.params.how == "semantic" else []

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        params, own, given = self.params, answer(record), lookup(record, self.params.candidates)
        if not own or not isinstance(given, list) or not given:
            return Verdict(name=self.name, passed=None, reason=f"no list of answers in {params.candidates}")
        candidates = [final_answer(str(one)) for one in given]
        own = final_answer(own)
        if len(candidates) < 2:
            return Verdict(
                name=self.name, passed=None, reason=f"{params.candidates} holds one answer, and one is no vote"
            )
        if own not in candidates:
            return Verdict(name=self.name, passed=None, reason=f"the record's answer is not in {params.candidates}")
        question = read_out(before_answer(record))
        vote = await majority_vote(
            ctx, candidates, params.how, role=params.role, tolerance=params.tolerance, question=question
        )
        record.metadata = {**record.metadata, "majority_vote": vote.as_metadata()}
        return Verdict(
            name=self.name,
            passed=candidates.index(own) in vote.winner and vote.agreement >= params.min_agreement and not vote.is_tie,
            score=vote.agreement,
            reason=f"groups of {', '.join(str(len(group)) for group in vote.groups)}",
            model=ctx.model(params.role) if params.how == "semantic" else None,
        )
