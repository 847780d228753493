"""What a run's verdicts say of its judges: how they decided, how they scored, how far they agree, what was close.

All candidates are counted, also the lost ones. Agreement is between siblings: judges of the config, members of one
panel, dimensions of one rubric. Where a panel stops early its members are compared on what both were asked about.
"""

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

from gristmill.agreement import compared
from gristmill.quantiles import QuantileSketch

NEAR = 3
"""How many examples are kept on either side of a threshold."""
BINS = 10
FEWEST = 10
"""Pairs, below which a correlation says nothing."""

_FOUND = {True: "passed", False: "failed", None: "undecided"}
SUPERSEDED = re.compile(r"\.try\d+(\.|$)")


@dataclass(slots=True)
class Moments:
    """Sums of pairs of numbers, enough for their correlation."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        self.n += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.yy += y * y
        self.xy += x * y

    def correlation(self) -> float | None:
        """Pearson's; None where there are too few pairs, or one side is always the same."""
        of_x, of_y = self.n * self.xx - self.x**2, self.n * self.yy - self.y**2
        if self.n < FEWEST or min(of_x, of_y) < 1e-9 * self.n**2:
            return None
        return (self.n * self.xy - self.x * self.y) / math.sqrt(of_x * of_y)


class Example(NamedTuple):
    """A decision that was close. `rank` orders a heap: the farthest from the threshold is the first to go."""

    rank: tuple[float, int]
    score: float
    uuid: str
    question: str
    reason: str


class VerdictSums:
    """Counts verdicts while candidates stream by; memory depends on the number of judges alone."""

    def __init__(self) -> None:
        self._found: Counter[tuple[str, str]] = Counter()
        self._scores: dict[str, QuantileSketch] = defaultdict(QuantileSketch)
        self._sums: dict[str, float] = defaultdict(float)
        self._range: dict[str, tuple[float, float]] = {}
        self._pairs: Counter[tuple[str, str, bool, bool]] = Counter()
        self._near: dict[tuple[str, bool], list[Example]] = defaultdict(list)
        self._with_length: dict[str, Moments] = defaultdict(Moments)
        self._seen = 0

    def add(self, uuid: str, messages: Sequence[Mapping[str, Any]], verdicts: Iterable[Mapping[str, Any]]) -> None:
        """A candidate with its verdicts, as they lie in a row."""
        self._seen += 1
        length = math.log1p(len(messages[-1]["content"] or "")) if messages else 0.0
        decided: dict[str, dict[str, bool]] = defaultdict(dict)
        for verdict in verdicts:
            name, passed, score = verdict["name"], verdict["passed"], verdict["score"]
            self._found[name, _FOUND[passed]] += 1
            if score is not None:
                self._scores[name].add(score)
                self._with_length[name].add(score, length)
                self._sums[name] += score
                low, high = self._range.get(name, (score, score))
                self._range[name] = min(low, score), max(high, score)
            if passed is None or SUPERSEDED.search(name):
                continue
            decided[name.rpartition(".")[0]][name] = passed
            if score is not None and "." not in name:
                self._consider(name, passed, score, uuid, messages, verdict["reason"])
        for siblings in decided.values():
            for one, other in combinations(sorted(siblings), 2):
                self._pairs[one, other, siblings[one], siblings[other]] += 1

    def _consider(
        self, name: str, passed: bool, score: float, uuid: str, messages: Sequence[Mapping[str, Any]], reason: str
    ) -> None:
        """Keeps the passed with the lowest scores and the failed with the highest; of equals, the first."""
        heap = self._near[name, passed]
        rank = (-score if passed else score, -self._seen)
        if len(heap) < NEAR or rank > heap[0].rank:
            asked = next((str(message["content"]) for message in messages if message["role"] == "user"), "")
            example = Example(rank, score, uuid, " ".join(asked.split())[:160], reason[:200])
            (heapq.heappush if len(heap) < NEAR else heapq.heapreplace)(heap, example)

    def counts(self) -> dict[str, dict[str, int]]:
        """{judge: {passed, failed, undecided}}."""
        names = sorted({name for name, _ in self._found})
        return {name: {found: self._found[name, found] for found in _FOUND.values()} for name in names}

    def scores(self) -> dict[str, dict[str, Any]]:
        """{judge: {n, mean, p10, p50, p90, histogram}}, of those whose scores differ."""
        return {
            name: {
                "n": sketch.total,
                "mean": round(self._sums[name] / sketch.total, 4),
                **{f"p{share}": round(sketch.quantile(share / 100), 2) for share in (10, 50, 90)},
                "histogram": sketch.histogram(BINS),
            }
            for name, sketch in sorted(self._scores.items())
            if self._range[name][0] < self._range[name][1]
        }

    def agreement(self) -> list[dict[str, Any]]:
        """For every two siblings: on how many both decided, the share of equal decisions, and Cohen's kappa."""
        pairs = sorted({(one, other) for one, other, _, _ in self._pairs})
        return [{"judges": [*pair], **compared(self._table(*pair))} for pair in pairs]

    def _table(self, one: str, other: str) -> dict[tuple[bool, bool], int]:
        return {(a, b): self._pairs[one, other, a, b] for a in (True, False) for b in (True, False)}

    def length_bias(self) -> dict[str, float]:
        """{judge: correlation of its score with the logarithm of the answer's length}. No proof of a bias, since long
        answers may be better; where it is large, `gristmill judge-bench` tells the two apart."""
        found = {name: moments.correlation() for name, moments in sorted(self._with_length.items())}
        return {name: round(value, 4) for name, value in found.items() if value is not None}

    def near_threshold(self) -> list[dict[str, Any]]:
        """The closest decisions of each judge that grades, from just failed to just passed."""
        found = []
        for name in sorted({name for name, _ in self._near}):
            kept = {side: sorted(self._near[name, side], key=lambda one: one.rank) for side in (False, True)}
            ends = {example.score for examples in kept.values() for example in examples[-1:]}
            if ends <= set(self._range[name]):
                continue  # it says yes or no: nothing is close
            for passed, examples in ((False, kept[False]), (True, kept[True][::-1])):
                found += [
                    {"judge": name, "passed": passed, "score": one.score, "uuid": one.uuid, "question": one.question,
                     "reason": one.reason}
                    for one in examples
                ]  # fmt: skip
        return found
