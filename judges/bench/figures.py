"""How good a judge is, from its verdicts on records whose right verdict is known.

    figures(decisions, precision=0.95)
    {"n": 200, "undecided": 3, "agreement": [0.94, 0.9, 0.97], "kappa": [0.87, ...], "precision": ..., "recall": ...,
     "thresholds": [{"score": 3, "precision": 0.91, "recall": 0.98, "accepted": 104}, ...],
     "suggested": {"score": 4, ...}, "calibration": [{"score": 4, "n": 40, "right": 0.95}, ...],
     "by_category": {"join": {"right accepted": 20, ...}}, "length_bias": {"right": 0.05, "wrong": 0.31}, ...}

A figure with an interval is [value, low, high]: 95 % by bootstrap. Accepting is the positive class; undecided is not
accepted. Precision is the share of the accepted that are right, recall the share of the right that are accepted.

Source: Efron 1979 (the bootstrap).
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from gristmill.agreement import kappa, weighted_kappa
from gristmill.verdicts import Moments

RESAMPLES = 1000
MOST_BINS = 10

Cells = Mapping[Any, int]


class Decision(NamedTuple):
    """A verdict beside what is known: `right` whether the record should pass, `grade` its score by people if there is
    one. `attack` names how a record tries to get past the judge, and `of` the record that it was made from."""

    right: bool
    passed: bool | None
    score: float | None
    cost: float = 0.0
    grade: float | None = None
    category: str = ""
    length: int = 0
    id: str = ""
    attack: str = ""
    of: str = ""


def figures(decisions: Sequence[Decision], *, precision: float, seed: int = 0) -> dict[str, Any]:
    """All of one judge. Attacked records count in `attacks` alone: they are there to be hard."""
    plain = [decision for decision in decisions if not decision.attack]
    table: Cells = Counter((one.right, one.passed is True) for one in plain)
    curve = thresholds(plain)
    graded = Counter((one.grade, one.score) for one in plain if one.grade is not None and one.score is not None)
    return {
        "n": len(plain),
        "right": sum(one.right for one in plain),
        "undecided": sum(one.passed is None for one in plain),
        "agreement": _with_interval(table, _agreement, seed),
        "kappa": _with_interval(table, kappa, seed),
        "weighted_kappa": _with_interval(graded, weighted_kappa, seed),
        "precision": _with_interval(table, _precision, seed),
        "recall": _with_interval(table, _recall, seed),
        "thresholds": curve,
        "suggested": next((point for point in curve if (point["precision"] or 0) >= precision), None),
        "calibration": calibration(plain),
        "by_category": _by_category(plain),
        "length_bias": {word: _length_bias([one for one in plain if one.right == right]) for word, right in _SIDES},
        "attacks": attacks(decisions),
        "usd_per_decision": fmean(one.cost for one in decisions) if decisions else 0.0,
    }


_SIDES = (("right", True), ("wrong", False))


def _agreement(table: Cells) -> float | None:
    return _ratio(table.get((True, True), 0) + table.get((False, False), 0), sum(table.values()))


def _precision(table: Cells) -> float | None:
    return _ratio(table.get((True, True), 0), table.get((True, True), 0) + table.get((False, True), 0))


def _recall(table: Cells) -> float | None:
    return _ratio(table.get((True, True), 0), table.get((True, True), 0) + table.get((True, False), 0))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _with_interval(table: Cells, figure: Callable[[Cells], float | None], seed: int) -> list[float | None] | None:
    """[value, low, high]; None where there is no value."""
    value = figure(table)
    if value is None:
        return None
    rng, cells, n = random.Random(seed), list(table), sum(table.values())
    weights = [table[cell] for cell in cells]
    drawn = [figure(Counter(rng.choices(cells, weights, k=n))) for _ in range(RESAMPLES)]
    known = sorted(one for one in drawn if one is not None)
    low, high = (known[round(share * (len(known) - 1))] for share in (0.025, 0.975))
    return [round(value, 4), round(low, 4), round(high, 4)]


def thresholds(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Precision and recall where records are accepted from each score on, lowest score first."""
    scores = sorted({one.score for one in decisions if one.score is not None})
    right = sum(one.right for one in decisions)
    points = []
    for score in scores:
        accepted = [one.right for one in decisions if one.score is not None and one.score >= score]
        hits = sum(accepted)
        points.append(
            {"score": score, "precision": _ratio(hits, len(accepted)), "recall": _ratio(hits, right),
             "accepted": len(accepted)}
        )  # fmt: skip
    return points


def calibration(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """The share of right records by score: one bin for each score, or ten of equal size where there are more."""
    known = sorted((one.score, one.right) for one in decisions if one.score is not None)
    groups: dict[Hashable, list[tuple[float, bool]]] = defaultdict(list)
    many = len({score for score, _ in known}) > MOST_BINS
    for place, (score, right) in enumerate(known):
        groups[place * MOST_BINS // len(known) if many else score].append((score, right))
    return [
        {"score": round(fmean(score for score, _ in group), 4), "n": len(group),
         "right": round(fmean(right for _, right in group), 4)}
        for group in groups.values()
    ]  # fmt: skip


def _by_category(decisions: Sequence[Decision]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in decisions:
        outcome = {True: "accepted", False: "rejected", None: "undecided"}[one.passed]
        found[one.category][f"{'right' if one.right else 'wrong'} {outcome}"] += 1
    return {category: dict(sorted(found[category].items())) for category in sorted(found)}


def _length_bias(decisions: Sequence[Decision]) -> float | None:
    """The correlation of the score with the logarithm of the answer's length, among records of one label: nothing but
    length should be left to explain it."""
    moments = Moments()
    for one in decisions:
        if one.score is not None:
            moments.add(one.score, math.log1p(one.length))
    value = moments.correlation()
    return None if value is None else round(value, 4)


def attacks(decisions: Sequence[Decision]) -> dict[str, dict[str, Any]]:
    """For each attack: how many records, the mean shift of the score against what they were made from, and how many
    wrong ones were accepted and right ones not."""
    before = {one.id: one for one in decisions if one.id and not one.attack}
    found: dict[str, list[Decision]] = defaultdict(list)
    for one in decisions:
        if one.attack:
            found[one.attack].append(one)
    return {attack: _attack(found[attack], before) for attack in sorted(found)}


def _attack(attacked: Sequence[Decision], before: Mapping[str, Decision]) -> dict[str, Any]:
    shifts = [
        one.score - base.score
        for one in attacked
        if one.score is not None and (base := before.get(one.of)) is not None and base.score is not None
    ]
    return {
        "n": len(attacked),
        "shift": round(fmean(shifts), 4) if shifts else None,
        "wrong_accepted": sum(one.passed is True for one in attacked if not one.right),
        "wrong": sum(not one.right for one in attacked),
        "right_rejected": sum(one.passed is not True for one in attacked if one.right),
    }
