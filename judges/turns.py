"""turns: each of the assistant's turns is graded on a rubric by itself, given the turns before it.

    turns.turn1  3.5   it asks for the date, which it needs
    turns.turn2  1     books for two, where the user said three

A record passes where every turn does. `at_most` turns are graded, the first ones; the rubric is one for a last turn.

Source: Nemotron 3 Super report (arXiv 2604.12374), general-purpose tool calling: a turn judge beside that of the whole.
"""

from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import Field

from gristmill import Context, Record, Verdict
from judges.asking import ModelJudge, ModelParams
from judges.rubric import Params as RubricParams
from judges.rubric import Rubric


class Params(ModelParams):
    """`rubric`, `min_score` and `at_least` as for the judge `rubric`."""

    rubric: str = "general_tools/turn"
    min_score: float | None = None
    at_least: dict[str, float] = {}
    at_most: Annotated[int, Field(ge=1)] = 40


class Turns(ModelJudge[Params]):
    name = "turns"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._rubric = Rubric(RubricParams(**params.model_dump(exclude={"at_most"})))

    def files(self) -> list[Path]:
        return self._rubric.files()

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        ends = [place for place, message in enumerate(record.messages, start=1) if message.role == "assistant"]
        if not ends:
            return Verdict(name=self.name, passed=None, reason="the assistant has no turn")
        shortened = [record.model_copy(update={"messages": record.messages[:end]}) for end in ends]
        grades = await ctx.gather(self._rubric.judge(one, ctx) for one in shortened[: self.params.at_most])
        parts = [
            verdict.model_copy(update={"name": f"turn{number}", "parts": []})
            for number, verdict in enumerate(grades, start=1)
        ]
        worst = min(parts, key=lambda part: part.score or 0.0)
        return Verdict(
            name=self.name, passed=all(part.passed for part in parts),
            score=round(fmean(part.score or 0.0 for part in parts), 4),
            reason=f"{worst.name} {worst.score:g}: {worst.reason}", model=ctx.model(self.params.role), parts=parts,
        )  # fmt: skip
