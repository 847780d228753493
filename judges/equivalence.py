"""equivalence: is the final answer the reference answer? Text and numbers first, a model where they can't tell.

    "**The final answer is: 1.5 km**"   against   "1500 m"      the same by value, no model asked
    "So the answer is seven."           against   "7"           the same
    "Paris, the capital"                against   "Paris"       asked, in both orders; both must say yes

Where `metadata.reference` is a list, one match is enough.

Source: MATH's and SimpleQA's graders compare final answers so (Hendrycks et al. 2021, arXiv 2103.03874).
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from gristmill import Config, Context, Judge, Record, Verdict
from judges.claims import final_answer
from judges.fields import FieldPath, answer, before_answer, lookup, read_out
from judges.maths import math_verify
from judges.notation import plain, quantity
from judges.numbers import same_quantity
from judges.sameness import same
from judges.votes import means_the_same, normalised

_DECIMAL_COMMA = re.compile(r"^([-−+]?\d+),(\d+)")

How = Literal["exact", "numeric", "maths", "semantic"]


class Params(Config):
    """`how` says how far to go: text; also numbers and units; also expressions, lists and intervals (math-verify); or
    numbers first, then by meaning."""

    role: str = "judge"
    reference: FieldPath = "metadata.reference"
    how: How = "semantic"
    tolerance: Annotated[float, Field(ge=0)] = 1e-6


class Found(NamedTuple):
    same: bool
    reason: str
    asked: bool = False


class Equivalence(Judge[Params]):
    name = "equivalence"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        if params.how == "maths":
            math_verify()  # where the extra is missing, this says so before the run begins

    def roles(self) -> list[str]:
        return [self.params.role] if self.params.how == "semantic" else []

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        params, text, reference = self.params, answer(record), lookup(record, self.params.reference)
        references = [
            str(one) for one in (reference if isinstance(reference, list) else [reference]) if one is not None
        ]
        if not text or not references:
            return Verdict(name=self.name, passed=None, reason=f"no answer, or no {params.reference} to compare with")
        question = read_out(before_answer(record)) if params.how == "semantic" else ""
        found = await equivalent(
            ctx, final_answer(text), references,
            how=params.how, role=params.role, tolerance=params.tolerance, question=question,
        )  # fmt: skip
        return Verdict(
            name=self.name,
            passed=found.same,
            score=float(found.same),
            reason=found.reason,
            model=ctx.model(params.role) if found.asked else None,
        )


async def equivalent(
    ctx: Context, text: str, references: Sequence[str], *,
    how: How = "semantic", role: str = "judge", tolerance: float = 1e-6, question: str = "",
) -> Found:  # fmt: skip
    """Whether a final answer is the same as one of the references. Two numbers are never left to a model."""
    open_references = []
    for reference in references:
        certain = _certainly(text, reference, how, tolerance)
        if certain:
            return Found(True, f"the same as {reference!r}")
        if certain is None:
            open_references.append(reference)
    if how != "semantic" or not open_references:
        return Found(False, f"{text[:100]!r} is not {' or '.join(map(repr, references))[:200]}")
    ctx.rng.shuffle(open_references)
    for reference in open_references:
        if await means_the_same(ctx, role, reference, text, question):
            return Found(True, f"means the same as {reference!r}", asked=True)
    return Found(False, f"{text[:100]!r} means another thing than {open_references[0][:100]!r}", asked=True)


def _certainly(text: str, reference: str, how: How, tolerance: float) -> bool | None:
    """Whether they are the same, as far as that can be told without a model; None where it can't."""
    if normalised(text) == normalised(reference):
        return True
    if how == "exact":
        return None
    one, other = quantity(plain(text)), quantity(plain(reference))
    if other and not one:  # beside a number, 3,14 is one too and no list of two
        one = quantity(plain(_DECIMAL_COMMA.sub(r"\1.\2", text)))
    if one and other:
        return same_quantity(one, other, tolerance)
    return same(reference, text) if how == "maths" else None
