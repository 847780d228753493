"""Of the right attempts those that become records: the best by a judge, or the shortest; more only where they differ.

    solve rate   right attempts / attempts: what the runtime lost counts as not solved

Source: GenSelect (arXiv 2504.16891); shortest correct answers, Kimi k1.5 (arXiv 2501.12599), §2.3.3.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from generators.refresh.attempts import Attempt
from gristmill import Config, Context, Reject
from judges.fields import read_out
from judges.genselect import select
from schemas import Message

How = Literal["shortest", "best", "first"]
Share = Annotated[float, Field(ge=0, le=1)]


class Choosing(Config):
    """`how` orders the right attempts; up to `records` are kept, where each is at most `max_similarity` like the ones
    before it (Jaccard of word 3-grams). Tasks outside of the solve rates are dropped: `at_most: 0.99` drops what all
    attempts solve."""

    how: How = "shortest"
    records: Annotated[int, Field(ge=1)] = 1
    max_similarity: Share = 0.5
    at_least: Share = 0.0
    at_most: Share = 1.0


def solve_rate(attempts: Sequence[Attempt]) -> float:
    return sum(one.fault is None for one in attempts) / len(attempts)


def require_right(attempts: Sequence[Attempt]) -> None:
    """Reject with the commonest fault where no attempt is right; the payload has all faults and one answer."""
    if any(one.fault is None for one in attempts):
        return
    faults = Counter((one.fault.stage, one.fault.reason) for one in attempts if one.fault)
    stage, reason = faults.most_common(1)[0][0]
    example = next(one for one in attempts if one.fault and one.fault[:2] == (stage, reason))
    raise Reject(
        stage, reason, example.fault.detail if example.fault else "",
        faults={f"{at}/{why}": n for (at, why), n in sorted(faults.items())}, attempts=len(attempts),
        answer=example.text,
    )  # fmt: skip


def require_rate(rate: float, choosing: Choosing) -> None:
    """Reject where a prompt is too easy or too hard for the teacher."""
    if rate < choosing.at_least:
        raise Reject("solve_rate", "too_hard", f"solved in {rate:.0%} of the attempts")
    if rate > choosing.at_most:
        raise Reject("solve_rate", "too_easy", f"solved in {rate:.0%} of the attempts")


async def choose(
    ctx: Context, asked: Sequence[Message], attempts: Sequence[Attempt], choosing: Choosing
) -> list[Attempt]:
    """The right attempts that are kept, the chosen one first."""
    right = [one for one in attempts if one.fault is None]
    if choosing.how != "first":
        right.sort(key=lambda one: one.length)
    if choosing.how == "best" and len(right) > 1:
        best = await select(ctx, read_out(list(asked)), [one.text for one in right], role="judge")
        right.insert(0, right.pop(best.position))
    kept: list[Attempt] = []
    for one in right:
        if len(kept) < choosing.records and all(
            likeness(one.text, other.text) <= choosing.max_similarity for other in kept
        ):
            kept.append(one)
    return kept


def likeness(one: str, other: str) -> float:
    """Jaccard similarity of word 3-grams; of shorter texts, of their words."""
    first, second = grams(one), grams(other)
    return len(first & second) / len(first | second) if first | second else 1.0


def grams(text: str, size: int = 3) -> set[tuple[str, ...]]:
    words = "".join(character if character.isalnum() else " " for character in text.casefold()).split()
    size = min(size, len(words))
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)} if words else set()
