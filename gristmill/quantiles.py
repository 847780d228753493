"""Quantiles of a stream in little memory: counts in buckets whose bounds grow by one percent.

    sketch.add(1234); sketch.quantile(0.99)      at most 0.5 % off, whatever the number of values

Values that are added in another order give the same sketch. 1 to 10^9 takes 2,100 buckets.

Source: DDSketch, Masson, Rim and Lee 2019 (arXiv 1908.10693).
"""

import math
from collections import Counter

_GROWTH = math.log(1.01)


class QuantileSketch:
    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.total = 0

    def add(self, value: float) -> None:
        """ValueError for what is no finite number."""
        self._counts[_bucket(value)] += 1
        self.total += 1

    def quantile(self, share: float) -> float:
        """The value below which `share` of all values lie; ValueError without values."""
        if not self.total:
            raise ValueError("no values")
        rank = share * (self.total - 1)
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen > rank:
                return _middle(bucket)
        return _middle(max(self._counts))

    def histogram(self, bins: int) -> list[dict[str, float]]:
        """The values in bins of equal width, from the lowest to the highest: [{"from", "to", "count"}]."""
        low, high = self.quantile(0), self.quantile(1)
        width = (high - low) / bins or 1.0
        counts = [0] * bins
        for bucket, count in self._counts.items():
            counts[min(bins - 1, int((_middle(bucket) - low) / width))] += count
        return [
            {"from": round(low + n * width, 3), "to": round(low + (n + 1) * width, 3), "count": count}
            for n, count in enumerate(counts)
        ]


_OFFSET = 100_000  # buckets of positive values begin here, those of negative ones end at minus this


def _bucket(value: float) -> int:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    if abs(value) < 1e-9:
        return 0
    index = math.floor(math.log(abs(value)) / _GROWTH) + _OFFSET
    return index if value > 0 else -index


def _middle(bucket: int) -> float:
    if bucket == 0:
        return 0.0
    return math.copysign(math.exp((abs(bucket) - _OFFSET + 0.5) * _GROWTH), bucket)
