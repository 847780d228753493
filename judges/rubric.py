"""rubric: a model scores a record against criteria; below the bar it doesn't pass, without a verdict it is undecided.

The model writes its reason before its score, both in a JSON schema; the score runs from 1 to 5.
"""

from typing import Annotated

from pydantic import Field

from gristmill import Answer, Config, Context, Judge, Record, Verdict
from schemas import Message


class Params(Config):
    """`min_score` is the lowest score that passes; `criteria` replaces the built-in ones."""

    role: str = "judge"
    min_score: Annotated[int, Field(ge=1, le=5)] = 4
    criteria: str = (
        "The answer is correct, complete and follows from what the user gave. "
        "The question is clear and can be answered. Nothing is invented."
    )


class Score(Answer):
    reason: Annotated[str, Field(max_length=300)]
    score: Annotated[int, Field(ge=1, le=5)]


class Rubric(Judge[Params]):
    name = "rubric"

    def roles(self) -> list[str]:
        return [self.params.role]

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        role = self.params.role
        found = await ctx.ask(
            role, "rubric", Score, criteria=self.params.criteria, conversation=_read_out(record.messages)
        )
        return Verdict(
            name=self.name,
            passed=found.score >= self.params.min_score,
            score=float(found.score),
            reason=found.reason,
            model=ctx.model(role),
        )


def _read_out(messages: list[Message]) -> str:
    """The conversation as text, without traces: what a reader of the record would judge."""
    turns = []
    for message in messages:
        calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls]
        turns.append(f"[{message.role}]\n" + "\n".join([message.content, *calls]).strip())
    return "\n\n".join(turns)
