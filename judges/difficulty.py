"""difficulty: keeps what is neither trivial nor hopeless, by the share of attempts that succeeded.

    {name: difficulty, solve_rate: metadata.solve_rate}                        drops 0 and 1
    {name: difficulty, success: metadata.success, by: [metadata.scenario]}     the rate over the candidates of a group
    {name: difficulty, solve_rate: metadata.solve_rate, at_least: 0.2, at_most: 0.8}

A record without the field is undecided, and so removed.

Source: Nemotron 3 Super report (arXiv 2604.12374), conversational tool use: scenarios that all or none of the attempts
solve are dropped.
"""

from collections import Counter
from typing import Annotated, Self

from pydantic import Field, model_validator

from gristmill import Config, Record, RunJudge, Verdict
from judges.fields import FieldPath, lookup
from judges.outliers import Group, group_of

Share = Annotated[float, Field(ge=0, le=1)]


class Params(Config):
    """Without bounds, rates of exactly 0 and 1 are dropped."""

    solve_rate: FieldPath | None = None
    success: FieldPath | None = None
    by: list[FieldPath] = []
    at_least: Share | None = None
    at_most: Share | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.solve_rate is None) == (self.success is None) or (self.success is not None and not self.by):
            raise ValueError("either `solve_rate`, or `success` with the fields that make a group in `by`")
        return self


class Difficulty(RunJudge[Params]):
    name = "difficulty"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._attempts: Counter[Group] = Counter()
        self._solved: Counter[Group] = Counter()

    def observe(self, record: Record) -> None:
        if self.params.success is not None:
            solved = lookup(record, self.params.success)
            if isinstance(solved, bool):
                group = group_of(record, self.params.by)
                self._attempts[group] += 1
                self._solved[group] += solved

    def verdict(self, record: Record) -> Verdict:
        rate = self._rate(record)
        if rate is None:
            return Verdict(name=self.name, passed=None, reason="no solve rate")
        too_hard = rate <= 0 if self.params.at_least is None else rate < self.params.at_least
        too_easy = rate >= 1 if self.params.at_most is None else rate > self.params.at_most
        reason = f"solved in {rate:.0%} of the attempts" + (", too hard" * too_hard or ", too easy" * too_easy)
        return Verdict(name=self.name, passed=not too_hard and not too_easy, score=round(rate, 4), reason=reason)

    def _rate(self, record: Record) -> float | None:
        if self.params.solve_rate is not None:
            rate = lookup(record, self.params.solve_rate)
            numeric = isinstance(rate, int | float) and not isinstance(rate, bool)
            return float(rate) if numeric and 0 <= rate <= 1 else None
        group = group_of(record, self.params.by)
        return self._solved[group] / self._attempts[group] if self._attempts[group] else None
