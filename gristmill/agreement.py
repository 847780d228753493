"""How far two raters agree, and how sure a share is.

    kappa({(True, True): 20, (True, False): 5, (False, True): 10, (False, False): 15})     0.4
    wilson(9, 10)                                                                          (0.596, 0.982)

Source: Cohen 1960 (https://doi.org/10.1177/001316446002000104) and 1968 (weights); Wilson 1927 (the score interval).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Z_95 = 1.959964


def kappa(table: Mapping[Any, int]) -> float | None:
    """Cohen's, of pairs of labels with how often each occurs; None where chance alone explains everything."""
    return _kappa(table, lambda one, other: float(one != other))


def weighted_kappa(table: Mapping[Any, int]) -> float | None:
    """Cohen's with quadratic weights, of pairs of grades on one scale."""
    return _kappa(table, lambda one, other: (one - other) ** 2)


def compared(table: Mapping[Any, int]) -> dict[str, Any]:
    """{n, agreement, kappa} of pairs of labels, of which there are some."""
    n = sum(table.values())
    equal = sum(count for (one, other), count in table.items() if one == other) / n
    beyond_chance = kappa(table)
    shown = None if beyond_chance is None else round(beyond_chance, 4)
    return {"n": n, "agreement": round(equal, 4), "kappa": shown}


def _kappa(table: Mapping[Any, int], distance: Callable[[Any, Any], float]) -> float | None:
    n = sum(table.values())
    first, second = Counter[Any](), Counter[Any]()
    for (one, other), count in table.items():
        first[one] += count
        second[other] += count
    seen = sum(count * distance(one, other) for (one, other), count in table.items())
    by_chance = sum(a * b * distance(one, other) for one, a in first.items() for other, b in second.items())
    return 1 - seen * n / by_chance if by_chance else None


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share; `n` may be the effective size of a weighted sample."""
    share, z2 = successes / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
