"""Votes over candidates: which answers are the same, and which of them most candidates give.

    vote = await majority_vote(ctx, ["Paris.", "paris", "Lyon"], "exact")
    vote.winner       [0, 1]: the candidates of the largest group (on a tie, of the group that began first)
    vote.agreement    0.67

`exact` compares after normalisation, `numeric` by value and unit, `semantic` also asks a model whether two answers
mean the same. It asks in both orders, and only where both say yes do the two become one group (union-find): n different
answers cost n(n-1) short calls, all at once.

Source: self-consistency, Wang et al. 2022 (arXiv 2203.11171); Nemotron 3 Super report (arXiv 2604.12374), long context:
exact match, else an LLM.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from gristmill import Answer, Context
from judges.asking import Reason, ask
from judges.notation import plain, quantity
from judges.numbers import same_quantity
from schemas import JsonObject

How = Literal["exact", "numeric", "semantic"]

_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_QUOTED = re.compile("^[\"'“‘](.*)[\"'”’]$")
_ARTICLES = re.compile(r"^(?:the|an?)\s+")
_EXCLAMATION = re.compile(r"(?<=[^\W\d])!+$")
_UNIT = re.compile(r"(?<=\d) ?[^\W\d_]{1,3}\b")


@dataclass(frozen=True, slots=True)
class Vote:
    """Groups of candidates' positions that say the same, the largest first."""

    groups: list[list[int]]

    @property
    def winner(self) -> list[int]:
        return self.groups[0]

    @property
    def agreement(self) -> float:
        """The winner's share of all candidates."""
        return len(self.winner) / sum(map(len, self.groups))

    @property
    def is_tie(self) -> bool:
        return len(self.groups) > 1 and len(self.groups[0]) == len(self.groups[1])

    def as_metadata(self) -> JsonObject:
        return {"agreement": round(self.agreement, 4), "groups": [len(group) for group in self.groups]}


class Groups:
    """Union-find over positions: what is the same as the same is the same."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, position: int) -> int:
        while self._parent[position] != position:
            self._parent[position] = position = self._parent[self._parent[position]]
        return position

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first  # the root of a group is its earliest member

    def roots(self) -> list[int]:
        return [position for position, parent in enumerate(self._parent) if position == parent]

    def vote(self) -> Vote:
        members: dict[int, list[int]] = {}
        for position in range(len(self._parent)):
            members.setdefault(self.find(position), []).append(position)
        return Vote(sorted(members.values(), key=lambda group: (-len(group), group[0])))


def normalised(text: str) -> str:
    """The text without what makes no difference: case, width and spacing of characters, articles, end punctuation.

    After a number, case and marks may make one: 5 mW is not 5 MW, and 5! is not 5.
    """
    plain = _SUPERSCRIPT.sub(lambda match: f"^{match[0]}", text).replace("**", "").replace("`", "")
    plain = " ".join(unicodedata.normalize("NFKC", plain).split()).rstrip(".,;:? ")
    plain = _QUOTED.sub(r"\1", plain).rstrip(".,;:? ")
    plain = _EXCLAMATION.sub("", plain)
    units = _UNIT.findall(plain)
    folded = "".join(part.casefold() + unit for part, unit in zip(_UNIT.split(plain), [*units, ""], strict=True))
    return _ARTICLES.sub("", folded)


def same_number(one: str, other: str, tolerance: float) -> bool:
    """Whether both texts are numbers and these are the same up to the relative tolerance."""
    first, second = quantity(plain(one)), quantity(plain(other))
    return first is not None and second is not None and same_quantity(first, second, tolerance)


async def majority_vote(
    ctx: Context, answers: Sequence[str], how: How = "exact", *, role: str = "judge", tolerance: float = 1e-6,
    question: str = "",
) -> Vote:  # fmt: skip
    """How the candidates divide; ValueError where there are none, Reject where the role gives no answer."""
    if not answers:
        raise ValueError("a vote needs candidates")
    groups = Groups(len(answers))
    first_of: dict[str, int] = {}
    for position, answer in enumerate(answers):
        groups.join(first_of.setdefault(normalised(answer), position), position)
    if how != "exact":
        for one, other in combinations(groups.roots(), 2):
            if same_number(answers[one], answers[other], tolerance):
                groups.join(one, other)
    if how == "semantic":
        await _join_by_meaning(ctx, answers, groups, role, question)
    return groups.vote()


async def _join_by_meaning(ctx: Context, answers: Sequence[str], groups: Groups, role: str, question: str) -> None:
    """Compares every two that differ so far, at once; two numbers differ by value, whatever a model says."""
    pairs = [
        (one, other)
        for one, other in combinations(groups.roots(), 2)
        if not (quantity(plain(answers[one])) and quantity(plain(answers[other])))
    ]
    same = await ctx.gather(means_the_same(ctx, role, answers[one], answers[other], question) for one, other in pairs)
    for (one, other), equal in zip(pairs, same, strict=True):
        if equal:
            groups.join(one, other)


class Sameness(Answer):
    reason: Reason
    same: bool


async def means_the_same(ctx: Context, role: str, one: str, other: str, question: str = "") -> bool:
    """Whether a model says of both orders that the two answers to `question` mean the same."""
    orders = ((one, other), (other, one))
    answers = await ctx.gather(
        ask(ctx, role, "equivalence", Sameness, question=question, first=first, second=second)
        for first, second in orders
    )
    return all(answer.same for answer in answers)
