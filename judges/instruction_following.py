"""instruction_following: does the answer keep what `metadata.constraints` asks? Code first, a model for the rest.

What code can check (length, format, keywords, language, case, start, end) is checked by code; see judges.constraints.
Only if all of that holds, a model is asked about the constraints of kind `other`, all in one call; without a `role`
these are undecided. Each constraint has a verdict of its own, and the score is the share that is kept.

Source: IFEval, Zhou et al. 2023 (arXiv 2311.07911).
"""

from functools import cache
from typing import Any

from pydantic import ValidationError

from gristmill import Config, Context, Judge, Record, Verdict
from gristmill.llm import Shape, object_shape
from judges.asking import ask_shape
from judges.constraints import CONSTRAINTS, Checkable, Other, check
from judges.fields import FieldPath, answer, before_answer, lookup, read_out
from schemas import JsonObject


class Params(Config):
    role: str | None = None
    constraints: FieldPath = "metadata.constraints"


class InstructionFollowing(Judge[Params]):
    name = "instruction_following"

    def roles(self) -> list[str]:
        return [self.params.role] if self.params.role else []

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        text, given = answer(record), lookup(record, self.params.constraints)
        if text is None or not given:
            return Verdict(name=self.name, passed=None, reason=f"no answer, or no {self.params.constraints}")
        try:
            constraints = CONSTRAINTS.validate_python(given)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (self.params.constraints, *first["loc"])))
            return Verdict(name=self.name, passed=None, reason=f"{place}: {first['msg']}")
        parts = [self._part(n, one, text) for n, one in enumerate(constraints, start=1) if not isinstance(one, Other)]
        others = [(n, one.text) for n, one in enumerate(constraints, start=1) if isinstance(one, Other)]
        if others and all(part.passed for part in parts):
            parts += await self._ask(others, record, text, ctx)
        return self._verdict(parts, len(constraints), ctx)

    def _part(self, number: int, constraint: Checkable, text: str) -> Verdict:
        fault = check(constraint, text)
        return Verdict(name=f"{number}_{constraint.kind}", passed=not fault, score=float(not fault), reason=fault)

    async def _ask(self, others: list[tuple[int, str]], record: Record, text: str, ctx: Context) -> list[Verdict]:
        role = self.params.role
        if role is None:
            return [Verdict(name=f"{n}_other", passed=None, reason="no role to ask") for n, _ in others]
        reply: Any = await ask_shape(
            ctx, role, "instruction_following", _kept(len(others)),
            instructions=[instruction for _, instruction in others], before=read_out(before_answer(record)), text=text,
        )  # fmt: skip
        return [
            Verdict(name=f"{n}_other", passed=kept, score=float(kept), reason=reply["reason"], model=ctx.model(role))
            for (n, _), kept in zip(others, reply["satisfied"], strict=True)
        ]

    def _verdict(self, parts: list[Verdict], total: int, ctx: Context) -> Verdict:
        kept = sum(part.passed is True for part in parts)
        against = [f"{part.name}: {part.reason}" for part in parts if part.passed is not True]
        passed = False if any(part.passed is False for part in parts) else (True if kept == total else None)
        asked = any(part.model for part in parts)
        return Verdict(
            name=self.name,
            passed=passed,
            score=round(kept / total, 4),
            reason="; ".join(against[:3]) or f"all {total} kept",
            model=ctx.model(self.params.role) if asked and self.params.role else None,
            parts=parts,
        )


@cache
def _kept(count: int) -> Shape[JsonObject]:
    return object_shape(
        "Kept",
        {
            "reason": {"type": "string", "maxLength": 600},
            "satisfied": {"type": "array", "items": {"type": "boolean"}, "minItems": count, "maxItems": count},
        },
    )
