"""outliers: drops records whose lengths are at the far ends of their group, over the whole run.

    {name: outliers, of: [question, answer, trace], low: 1, high: 99, by: [category]}

Texts are measured in characters, numbers in the metadata as they are. A record is dropped where one of its measures is
below the `low` or above the `high` percentile of its group. Groups of fewer than `min_group` are left alone, and so is
a measure that a record doesn't have. Percentiles are exact to one percent (gristmill.quantiles), so nothing is dropped
for lying on a bound.

Source: Nemotron 3 Super report (arXiv 2604.12374), financial QA: percentile-based outlier removal.
"""

from collections import defaultdict
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from gristmill import Config, Record, RunJudge, Verdict
from gristmill.quantiles import QuantileSketch
from judges.fields import FieldPath, lookup

Percentile = Annotated[float, Field(ge=0, le=100)]
Group = tuple[str, ...]

MARGIN = 0.01
"""The sketch's precision: what is nearer to a bound than this is on it."""


class Params(Config):
    of: Annotated[list[FieldPath], Field(min_length=1)] = ["question", "answer", "trace"]
    by: list[FieldPath] = ["category"]
    low: Percentile = 1.0
    high: Percentile = 99.0
    min_group: Annotated[int, Field(ge=2)] = 50

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Outliers(RunJudge[Params]):
    name = "outliers"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._sketches: dict[tuple[Group, str], QuantileSketch] = defaultdict(QuantileSketch)
        self._bounds: dict[tuple[Group, str], tuple[float, float]] = {}

    def observe(self, record: Record) -> None:
        group = group_of(record, self.params.by)
        for path in self.params.of:
            value = measure(lookup(record, path))
            if value is not None:
                self._sketches[group, path].add(value)

    def verdict(self, record: Record) -> Verdict:
        group = group_of(record, self.params.by)
        for path in self.params.of:
            value = measure(lookup(record, path))
            if value is None or self._sketches[group, path].total < self.params.min_group:
                continue
            low, high = self._bounds_of(group, path)
            if not low - abs(low) * MARGIN <= value <= high + abs(high) * MARGIN:
                reason = f"{path} {value:g} is outside {low:.4g} to {high:.4g} of {' '.join(group) or 'the run'}"
                return Verdict(name=self.name, passed=False, score=0.0, reason=reason)
        return Verdict(name=self.name, passed=True, score=1.0)

    def _bounds_of(self, group: Group, path: str) -> tuple[float, float]:
        if (group, path) not in self._bounds:
            sketch = self._sketches[group, path]
            self._bounds[group, path] = sketch.quantile(self.params.low / 100), sketch.quantile(self.params.high / 100)
        return self._bounds[group, path]


def group_of(record: Record, by: list[str]) -> Group:
    return tuple(str(lookup(record, path)) for path in by)


def measure(value: Any) -> float | None:
    """A text's length, a number itself; None for anything else."""
    if isinstance(value, str):
        return float(len(value)) or None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
